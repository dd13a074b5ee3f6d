"""Dry run: one pass over the input that counts what a run would ask, and sends nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np

from rowmill.schemas.catalogue import Model
from rowmill.schemas.forecast import RowCounts
from rowmill.schemas.job import Job
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.price import PICO
from rowmill.schemas.request import Request, Text
from rowmill.schemas.row import Row, Shard, Unreadable
from rowmill.tasks.answers.validator import REASON_CHARS, REASONS_MOST
from rowmill.tasks.forecast.settled_rows import SettledRows
from rowmill.tasks.forecast.tokens import Count
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.input import reader as read
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.survey import Survey, Surveyor
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.vote_planners import Votes
from rowmill.tasks.plan.worst_case import worst_case

# Rows that a forecast may be learned from: those whose hashes are the smallest, so that which they are depends on
# nothing but their position. Their order is the order in which a pilot takes them.
CANDIDATES = 4_000
AT_ONCE = 64
# What a model is told when it is asked again, at the most.
COMPLAINT_BYTES = REASONS_MOST * REASON_CHARS + 1_000
PAID_ALREADY = -1


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that a sample may hold; `settled` when its cost is known already."""

    order: int
    row: int
    tokens: float
    settled: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """One row that would be asked, for whoever wants the rows and not only their sum."""

    row: Row
    tokens: float


@dataclass(slots=True)
class Tally:
    """Sums over the input. Tokens are estimated; `ceiling_usd` is the worst case of every call a row may need."""

    total: int = 0
    unreadable: int = 0
    cannot_be_asked: int = 0
    same_request: int = 0
    settled: int = 0
    to_ask: int = 0
    tokens: float = 0.0
    media: int = 0
    ceiling_usd: float = 0.0
    candidates: list[Candidate] = field(default_factory=list)

    def counts(self) -> RowCounts:
        return RowCounts(
            self.total, self.unreadable, self.cannot_be_asked, self.same_request, self.settled, self.to_ask
        )


class DryRun:
    """Counts the rows of one job for one model."""

    def __init__(
        self, job: Job, model: Model, votes: Votes, settled: SettledRows, count: Count, *, sandbox: bool,
        limit: int | None = None,
    ) -> None:  # fmt: skip
        """`job` is the job as its first vote asks it; `votes` are its votes, none for a job that labels nothing."""
        self._limit = limit
        self._job, self._model, self._settled = job, model, settled
        self._planner = Planner(job, model, sandbox=sandbox)
        self._votes = {name: (other, planners[0], len(planners)) for name, (other, planners) in votes.items()}
        self._protocol = PROTOCOLS[model.protocol]
        self._count = count
        self._counted_once = lru_cache(64)(count)
        self._fixed = self._fixed_tokens()
        self.tally = Tally()

    def _fixed_tokens(self) -> float:
        """What every request carries beside its texts: tools, and a schema that travels natively."""
        tools = sum(self._count(encode_json(tool.model_dump()).decode()) for tool in self._job.tools)
        schema = self._job.output_schema
        return tools + (self._count(encode_json(schema).decode()) if self._planner.native and schema is not None else 0)

    def walk(self, see: Callable[[Asked], None] | None = None) -> Tally:
        """One streamed pass. `see` is told of each row that would be asked. Raises InputError, StorageError."""
        files = read.job_files(self._job)
        with tempfile.TemporaryDirectory(prefix="rowmill-") as folder, KeyIndex(Path(folder, "keys.sqlite")) as keys:
            survey = self._survey(files, keys)
            threshold = (1 << 64) * CANDIDATES // max(survey.rows, CANDIDATES)
            if any(self._settled.of(shard) is not None for shard in survey.shards):
                validator = validator_of(self._job)
                keys.claim_all((key, PAID_ALREADY) for key in self._settled.paid_keys(validator))
            for shard in survey.shards:
                self._walk_shard(shard, survey, files, keys, threshold, see)
        self.tally.total = survey.rows
        self.tally.candidates.sort(key=lambda candidate: candidate.order)
        return self.tally

    def _survey(self, files: list[InputFile], keys: KeyIndex) -> Survey:
        surveyor = Surveyor(
            files, id_column=self._job.id, keep=(), keys=keys,
            sizes={number: footer.shard.rows for number, (_, footer) in self._settled.parts.items()},
            limit=self._limit, max_line_bytes=self._job.limits.max_line_bytes,
        )  # fmt: skip
        survey = surveyor.run_checked()
        if not survey.complete:
            survey.shards.extend(surveyor.rest())
        return survey

    def _walk_shard(
        self, shard: Shard, survey: Survey, files: list[InputFile], keys: KeyIndex, threshold: int,
        see: Callable[[Asked], None] | None,
    ) -> None:  # fmt: skip
        settled = self._settled.of(shard)
        orders = row_orders(shard.first_row, shard.rows)
        if settled is None:
            self.tally.settled += shard.rows
            if not (orders < np.uint64(min(threshold, (1 << 64) - 1))).any():
                return
        rows = read.shard_rows(shard, files, self._job.id, self._job.limits.max_line_bytes)
        for few in _batches(rows):
            requests = []
            for row in few:
                chosen = int(orders[row.index - shard.first_row]) < threshold
                if settled is None or row.index in settled:
                    self.tally.settled += settled is not None
                    if chosen and isinstance(row, Row):
                        self._candidate(row, int(orders[row.index - shard.first_row]))
                elif (request := self._request(row, survey)) is not None:
                    requests.append(request)
            owners = keys.owners([(request.key, request.row.index) for request in requests])
            for request, owner in zip(requests, owners, strict=True):
                self._ask(request, owner, int(orders[request.row.index - shard.first_row]), threshold, see)

    def _request(self, row: Row | Unreadable, survey: Survey) -> Request | None:
        if isinstance(row, Unreadable) or row.index in survey.duplicates:
            self.tally.unreadable += 1
            return None
        planned = self._planner.plan(row)
        if isinstance(planned, Outcome):
            self.tally.cannot_be_asked += 1
            return None
        return planned

    def _candidate(self, row: Row, order: int) -> None:
        planned = self._planner.plan(row)
        if isinstance(planned, Request):
            self.tally.candidates.append(Candidate(order, row.index, self.tokens(planned), True))

    def _ask(
        self, request: Request, owner: int, order: int, threshold: int, see: Callable[[Asked], None] | None
    ) -> None:
        if owner != request.row.index:
            self.tally.settled += owner == PAID_ALREADY
            self.tally.same_request += owner != PAID_ALREADY
            return
        tally, tokens = self.tally, self.tokens(request)
        tally.to_ask += 1
        tally.tokens += tokens
        tally.media += request.media
        tally.ceiling_usd += self._ceiling(request)
        if order < threshold:
            tally.candidates.append(Candidate(order, request.row.index, tokens, False))
        if see is not None:
            see(Asked(request.row, tokens))

    def tokens(self, request: Request) -> float:
        """Estimated input tokens of a request: its texts, what all carry, and its media by the catalogue's rule."""
        total = self._fixed + self._model.media_tokens * request.media
        for turn in self._protocol.turns(request.body):
            count = self._counted_once if turn.role == "system" else self._count
            total += sum(count(part.text) for part in turn.parts if isinstance(part, Text))
        return total

    def _ceiling(self, request: Request) -> float:
        """No run can pay more for this row: every vote that it may need, at its worst case, in USD."""
        if not self._votes:
            return self._most_usd(self._model, request)
        total = 0.0
        for model, planner, votes in self._votes.values():
            planned = request if model is self._model else planner.plan(request.row)
            total += votes * self._most_usd(model, planned) if isinstance(planned, Request) else 0.0
        return total

    def _most_usd(self, model: Model, request: Request) -> float:
        """Every call that one answer may take at its worst case.

        Asked again, a row carries its last answer and the complaint along; a cut answer is given twice the room.
        """
        retries, protocol = self._job.retries, PROTOCOLS[model.protocol]
        bound = protocol.output_limit(request.body) or model.max_output_tokens
        size = len(protocol.wire(request.body, stream=False))
        total = dearest = 0
        for _ in range(1 + retries.content):
            dearest = worst_case(model, request.body, size, output_tokens=bound).usd
            total += dearest
            size, bound = size + bound + COMPLAINT_BYTES, min(model.max_output_tokens, 2 * bound)
        return (total + dearest * retries.transport) / PICO


def row_orders(first: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """A hash of each row's position (splitmix64): a fixed random order of the rows of any input."""
    with np.errstate(over="ignore"):
        mixed = (np.arange(first, first + count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashed: np.ndarray[tuple[int], np.dtype[np.uint64]] = mixed ^ (mixed >> np.uint64(31))
    return hashed


def _batches(rows: Iterator[Row | Unreadable]) -> Iterator[list[Row | Unreadable]]:
    while few := list(islice(rows, AT_ONCE)):
        yield few


def seed_of(fingerprint: str) -> int:
    """The resampling's seed: the same job has the same forecast twice."""
    return int.from_bytes(blake2b(fingerprint.encode(), digest_size=4).digest(), "big")
