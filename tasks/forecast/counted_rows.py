"""Counted rows: what a pass over the input tells of the rows that a run would ask."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from rowmill.schemas.forecast import RowCounts
from rowmill.schemas.media_tokens import NO_TOKENS, Tokens
from rowmill.schemas.row import Row
from rowmill.tasks.forecast.drawn_rows import Drawn


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that a sample may hold: its request key, its estimated tokens, and what it is expected to cost in USD."""

    key: bytes
    row: int
    tokens: float
    size: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One row that would be asked, for whoever wants the rows and not only their sum."""

    row: Row
    tokens: float


@dataclass(slots=True)
class Tally:
    """Sums over the input. Tokens are estimated; `ceiling_usd` is the worst case of every call a row may need,
    `worst_usd` that of its first call alone.

    `media_tokens` are those of `media`, which are among the tokens, with their interval; `media_unmeasured` of them do
    not tell how large they are. `size` is what the rows to ask are expected to cost before anything is known
    (prior.py). `drawable` are rows to ask in the order in which a pilot draws them: by a hash of the request over its
    size, so that each is drawn with a chance in proportion to its size (sequential Poisson sampling, Ohlsson 1998).
    `earlier` is a random handful of the settled rows. `drawn` tells that the sums are those of rows drawn over the
    input. `keys` is the sum of all request keys, asked or settled, which tells one set of rows from another.
    """

    total: int = 0
    unreadable: int = 0
    cannot_be_asked: int = 0
    same_request: int = 0
    settled: int = 0
    to_ask: int = 0
    tokens: float = 0.0
    media: int = 0
    media_tokens: Tokens = NO_TOKENS
    media_unmeasured: int = 0
    ceiling_usd: float = 0.0
    worst_usd: float = 0.0
    size: float = 0.0
    drawable: list[Candidate] = field(default_factory=list)
    earlier: list[Candidate] = field(default_factory=list)
    keys: int = 0
    first_to_ask: int | None = None
    settled_beyond: int = 0
    watched: dict[bytes, int] = field(default_factory=dict)
    drawn: Drawn | None = None

    def scaled(self, ratio: float) -> Tally:
        """With so many times the tokens, as earlier answers of the model were billed for."""
        drawn = None if self.drawn is None else replace(self.drawn, tokens_error=self.drawn.tokens_error * ratio)
        return replace(self, tokens=self.tokens * ratio, media_tokens=self.media_tokens.times(ratio), drawn=drawn)

    def counts(self) -> RowCounts:
        return RowCounts(
            self.total, self.unreadable, self.cannot_be_asked, self.same_request, self.settled, self.to_ask
        )
