"""Dry run: one pass over the input that counts what a run would ask, and sends nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from heapq import heappush, heapreplace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from rowmill.schemas.catalogue import Model
from rowmill.schemas.job import Job
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row, Shard, Unreadable
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.forecast.counted_rows import Asked, Candidate, Tally
from rowmill.tasks.forecast.drawn_pass import drawn_tally, planned_row
from rowmill.tasks.forecast.drawn_rows import row_orders
from rowmill.tasks.forecast.request_costs import RequestCosts
from rowmill.tasks.forecast.settled_rows import SettledRows
from rowmill.tasks.forecast.tokens import Count
from rowmill.tasks.input import reader as read
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.survey import SAMPLE_ROWS, Survey, Surveyor
from rowmill.tasks.output.columns import columns_of, kept_names
from rowmill.tasks.plan.input_checks import named_columns, refuse_bad_input, refuse_doubled, refuse_unaskable
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.vote_planners import Votes

# Rows that a pilot may draw, and settled rows that a forecast may be learned from.
CANDIDATES = 4_000
KEY_MODULUS = 1 << 128
AT_ONCE = 64
# Up to here every row is looked at, whatever is asked.
EXACT_ROWS = 100_000
PAID_ALREADY = -1
T = TypeVar("T")


class DryRun:
    """Counts the rows of one job for one model."""

    def __init__(
        self, job: Job, model: Model, votes: Votes, *, settled: SettledRows, count: Count, sandbox: bool,
        limit: int | None = None, watched: AbstractSet[bytes] = frozenset(), draws: bool = False,
    ) -> None:  # fmt: skip
        """`draws`: of an input of more than EXACT_ROWS rows, none of them settled, some are looked at for all.

        `job` is the job as its first vote asks it; `votes` are its votes, none for a job that labels nothing.

        `watched` are requests whose rows are told where they are settled by an answer that stands in no part.
        """
        self._limit, self._watched, self._draws = limit, watched, draws and settled.is_empty
        # Sums of the request keys of what stands, by shard number.
        self._shard_keys: dict[int, int] = {}
        self._job, self._model, self._settled = job, model, settled
        self._planner = Planner(job, model, sandbox=sandbox)
        self._costs = RequestCosts(job, model, votes, count=count, native=self._planner.native)
        # The rows to ask that would be drawn first: a heap whose head is the one to give way.
        self._drawn: list[tuple[float, int, Candidate]] = []
        self.tally = Tally()

    def walk(self, see: Callable[[Asked], None] | None = None) -> Tally:
        """One streamed pass. `see` is told of each row that would be asked.

        Raises InputError and JobError for an input that a run would refuse as a whole, StorageError.
        """
        files = read.job_files(self._job)
        if self._draws and see is None and (drawn := self._drawn_walk(files)) is not None:
            self.tally = drawn
            return drawn
        with tempfile.TemporaryDirectory(prefix="rowmill-") as folder, KeyIndex(Path(folder)) as keys:
            survey = self._survey(files, keys)
            refuse_bad_input(survey, self._job, self._planner)
            refuse_doubled(self._job, files)
            columns_of(self._job, validator_of(self._job).shape, survey, files=files)
            threshold = (1 << 64) * CANDIDATES // max(survey.rows, CANDIDATES)
            if any(self._settled.of(shard) is not None for shard in survey.shards):
                validator = validator_of(self._job)
                for few in _batches(self._paid_keys(validator)):
                    keys.owners([(key, PAID_ALREADY) for key in few])
            for shard in survey.shards:
                self._walk_shard(shard, survey, files, keys=keys, threshold=threshold, see=see)
        self.tally.total = survey.rows
        self.tally.drawable = [candidate for _, _, candidate in sorted(self._drawn, reverse=True)]
        return self.tally

    def _drawn_walk(self, files: list[InputFile]) -> Tally | None:
        """The sums of a large input by rows drawn over all of it; None where all rows have to be looked at."""
        with tempfile.TemporaryDirectory(prefix="rowmill-") as folder, KeyIndex(Path(folder)) as keys:
            survey = self._survey(files, keys, looked_at=SAMPLE_ROWS)
        named = {name for names in named_columns(self._job).values() for name in names}
        if survey.rows <= EXACT_ROWS or not named <= survey.columns:
            # Only who has looked at every row knows that none has a column: a run would refuse it.
            return None
        refuse_unaskable(survey, self._planner)
        return drawn_tally(self._job, survey, files, planner=self._planner, costs=self._costs)

    def _paid_keys(self, validator: Validator) -> Iterator[bytes]:
        for number, key in self._settled.paid_keys(validator):
            if number is not None:
                self._shard_keys[number] = self._shard_keys.get(number, 0) + int.from_bytes(key, "big")
            yield key

    def _see_keys(self, total: int) -> None:
        self.tally.keys = (self.tally.keys + total) % KEY_MODULUS

    def _survey(self, files: list[InputFile], keys: KeyIndex, looked_at: int | None = None) -> Survey:
        surveyor = Surveyor(
            files, id_column=self._job.id, keep=kept_names(self._job), keys=keys,
            sizes={number: footer.shard.rows for number, (_, footer) in self._settled.parts.items()},
            limit=self._limit, max_line_bytes=self._job.limits.max_line_bytes, looked_at=looked_at,
        )  # fmt: skip
        survey = surveyor.run_checked()
        if not survey.complete:
            survey.shards.extend(surveyor.rest())
        return survey

    def _walk_shard(
        self, shard: Shard, survey: Survey, files: list[InputFile], *, keys: KeyIndex, threshold: int,
        see: Callable[[Asked], None] | None,
    ) -> None:  # fmt: skip
        settled = self._settled.of(shard)
        if settled is None or settled:
            self._see_keys(self._shard_keys.get(shard.number, 0))
        chosen = row_orders(shard.first_row, shard.rows) < np.uint64(min(threshold, (1 << 64) - 1))
        if settled is None:
            self._see_settled(shard.rows)
            if not chosen.any():
                return
        rows = read.shard_rows(shard, files, self._job.id, max_line_bytes=self._job.limits.max_line_bytes)
        for few in _batches(rows):
            requests = []
            for row in few:
                if settled is None or row.index in settled:
                    if settled is not None:
                        self._see_settled(1)
                    if chosen[row.index - shard.first_row] and isinstance(row, Row):
                        self._see_earlier(row)
                elif (request := self._request(row, survey)) is not None:
                    requests.append(request)
            owners = keys.owners([(request.key, request.row.index) for request in requests])
            for request, owner in zip(requests, owners, strict=True):
                self._ask(request, owner, see)

    def _see_settled(self, rows: int) -> None:
        self.tally.settled += rows
        if self.tally.first_to_ask is not None:
            self.tally.settled_beyond += rows

    def _request(self, row: Row | Unreadable, survey: Survey) -> Request | None:
        planned = planned_row(self._planner, row, survey)
        if isinstance(planned, Request):
            return planned
        self.tally.unreadable += planned is None
        self.tally.cannot_be_asked += planned is not None
        return None

    def _see_earlier(self, row: Row) -> None:
        planned = self._planner.plan(row)
        if isinstance(planned, Request):
            self.tally.earlier.append(self._candidate(planned, self._costs.tokens(planned)))

    def _candidate(self, request: Request, tokens: float) -> Candidate:
        return Candidate(request.key, request.row.index, tokens, self._costs.expected_usd(tokens))

    def _ask(self, request: Request, owner: int, see: Callable[[Asked], None] | None) -> None:
        self._see_keys(int.from_bytes(request.key, "big"))
        if owner == PAID_ALREADY:
            self._see_settled(1)
            if request.key in self._watched:
                self.tally.watched[request.key] = request.row.index
            return
        if owner != request.row.index:
            self.tally.same_request += 1
            return
        tally, tokens = self.tally, self._costs.tokens(request)
        candidate = self._candidate(request, tokens)
        tally.to_ask += 1
        tally.tokens += tokens
        tally.size += candidate.size
        tally.media += request.media
        if request.media:
            tally.media_tokens = tally.media_tokens.plus(request.media_tokens)
            tally.media_unmeasured += request.media_unmeasured
        first, most = self._costs.worst_cases(request)
        tally.worst_usd += first
        tally.ceiling_usd += most
        if tally.first_to_ask is None:
            tally.first_to_ask = request.row.index
        self._draw(candidate)
        if see is not None:
            see(Asked(request.row, tokens))

    def _draw(self, candidate: Candidate) -> None:
        order = -int.from_bytes(candidate.key[:8], "big") / candidate.size
        if len(self._drawn) < CANDIDATES:
            heappush(self._drawn, (order, -candidate.row, candidate))
        elif order > self._drawn[0][0]:
            heapreplace(self._drawn, (order, -candidate.row, candidate))


def _batches(many: Iterator[T]) -> Iterator[list[T]]:
    while few := list(islice(many, AT_ONCE)):
        yield few


def seed_of(fingerprint: str) -> int:
    """The resampling's seed: the same job has the same forecast twice."""
    return int.from_bytes(blake2b(fingerprint.encode(), digest_size=4).digest(), "big")
