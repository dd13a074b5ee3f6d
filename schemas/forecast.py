"""Forecast: what a batch will cost, how sure that is, and how right it was."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

FORECAST_VERSION = 1
# What an automatic pilot may cost at the most, as a share of the whole bill, unless its user says otherwise.
PILOT_SHARE = 0.05
# What binds a ceiling that no cap of the job's lies below.
EVERY_CALL = "every call at its worst"


class Basis(StrEnum):
    """What a forecast rests on, the surest first."""

    RANDOM = "random sample"
    EARLIER = "earlier results"
    PRIOR = "prior"


class Interval(msgspec.Struct, frozen=True):
    """An amount with its 95 % interval and the bound that it passes once in a hundred times."""

    estimate: float
    low: float
    high: float
    bound_99: float

    def plus(self, known: float) -> Interval:
        """The same with an amount added that is known already."""
        return Interval(self.estimate + known, self.low + known, self.high + known, self.bound_99 + known)

    def times(self, factor: float) -> Interval:
        return Interval(self.estimate * factor, self.low * factor, self.high * factor, self.bound_99 * factor)


class RowCounts(msgspec.Struct, frozen=True):
    """Rows of the input by what they will cost: only those `to_ask` cost anything more."""

    total: int
    unreadable: int
    cannot_be_asked: int
    same_request: int
    settled: int
    to_ask: int


class Sample(msgspec.Struct, frozen=True):
    """The rows whose cost is known and that the forecast was learned from."""

    rows: int
    input_ratio: float
    mean_output_tokens: float
    mean_latency_s: float | None
    calls_a_row: float


class Pace(msgspec.Struct, frozen=True):
    """Seconds the batch will take at the job's limits, and which of them binds."""

    seconds: float | None
    binds: str


class MediaTokens(msgspec.Struct, frozen=True):
    """Tokens that media are expected to count for, from where to where they may; `unmeasured` media do not tell how
    large they are.
    """

    estimate: float
    low: float
    high: float
    unmeasured: int


class Forecast(msgspec.Struct, frozen=True):
    """What `estimate.json` holds. Money is in USD, of the rows to ask unless it says otherwise.

    `intercept_usd` + `usd_per_token` x estimated input tokens is the expected cost of one row. `settled_input_tokens`
    is what the rows that were settled already had been billed for as input. `ceiling_usd` is the least of what every
    call may cost at its worst and what the job's caps leave; `ceiling_binds` says which: EVERY_CALL or a key of the
    job. `cost_usd` is that of all rows, whatever the caps. `drawn_rows` are the rows that were looked
    at for all of a large input; null where every row was. `media_tokens` are among the input tokens; null where there
    are no media.
    """

    job: str
    model: str
    made_at: str
    basis: Basis
    rows: RowCounts
    input_tokens: float
    output_tokens: float
    media: int
    sample: Sample | None
    cost_usd: Interval | None
    credits_per_usd: float | None
    ceiling_usd: float | None
    spent_usd: float
    per_1000_rows_usd: float | None
    pace: Pace
    rows_beyond_cap: int | None
    intercept_usd: float
    usd_per_token: float
    notes: list[str]
    compared: list[dict[str, Any]] = []
    pilot: dict[str, Any] | None = None
    settled_input_tokens: float = 0.0
    version: int = FORECAST_VERSION
    drawn_rows: int | None = None
    media_tokens: MediaTokens | None = None
    ceiling_binds: str = EVERY_CALL

    @property
    def is_capped(self) -> bool:
        """Whether a cap of the job's holds the cost below what every call may come to."""
        return self.ceiling_binds != EVERY_CALL


class DecileCost(msgspec.Struct, frozen=True, kw_only=True):
    """A tenth of the rows that were asked: billed input tokens a row, and what the forecast's line expected of them."""

    rows: int = 0
    mean_input_tokens: float = 0.0
    expected_usd: float = 0.0
    actual_usd: float = 0.0


class ForecastAccuracy(msgspec.Struct, frozen=True, kw_only=True):
    """What `run.json` tells under `forecast`: the forecast of the rows that remained, and what they really cost.

    `off_by` is the share by which they cost more (None of a forecast of nothing), `within` whether the cost lies in the
    95 % interval. Deciles are of all rows that were asked, the shortest input first.
    """

    made_at: str = ""
    basis: str = ""
    rows: int = 0
    estimate_usd: float = 0.0
    low_usd: float = 0.0
    high_usd: float = 0.0
    bound_99_usd: float = 0.0
    actual_usd: float = 0.0
    off_by: float | None = None
    within: bool = False
    deciles: list[DecileCost] = msgspec.field(default_factory=list)
