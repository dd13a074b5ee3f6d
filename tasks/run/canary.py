"""Canary: settled rows asked again before anything new, in a journal of their own. No result is replaced by them."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import pyarrow.parquet as pq

from rowmill.schemas.account import Account
from rowmill.schemas.attempt import Spent
from rowmill.schemas.canary import DRIFT, CanaryReport, ChangedField, ChangedRow
from rowmill.schemas.display_text import one_line
from rowmill.schemas.errors import StorageError
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import decimal_string
from rowmill.schemas.request import Request
from rowmill.schemas.row import NO_SHARD, Row, Shard
from rowmill.schemas.safeguards import Canary
from rowmill.schemas.tally import Tally
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.gateway.admission.gate import Halted
from rowmill.tasks.gateway.admission.halts import refused_storage
from rowmill.tasks.journal.entries import VERSION, Head
from rowmill.tasks.journal.ledger import Ledger
from rowmill.tasks.journal.segment import ANSWER_ROOM, Segment, opened_segment
from rowmill.tasks.output.layout import CANARY
from rowmill.tasks.output.outcome_lookup import OutcomeLookup
from rowmill.tasks.output.spending import canary_in
from rowmill.tasks.run.drift import Drift, differs, leaves, measure
from rowmill.tasks.run.row_tasks import MEDIA_HELD_MOST, cancel
from rowmill.tasks.run.shard_context import ShardContext
from rowmill.tasks.settle.defect import plan_row
from rowmill.tasks.system.in_thread import in_thread

# Fewer rows cannot show a change that chance does not show once in a hundred nights: 2⁻⁶ is more.
ROWS_LEAST = 7
# Rows told, fields told of each, characters of each value.
ROWS_TOLD, FIELDS_TOLD, WORDS = 50, 5, 200
NEXT = (
    "Look at the changed rows (canary in run.json, report.html). If the new answers are as good, accept them: set "
    "canary.since to today, and run again; rows answered before are then not drawn any more. Otherwise ask the gateway "
    "which model it serves, or name another; --fresh asks every row anew"
)


@dataclass(slots=True)
class _Drawn:
    """A settled row, what it asked, and its new answers."""

    stands: Outcome
    request: Request
    again: list[Outcome]


def close_left(journal: Path, ledger: Ledger) -> None:
    """Count what the canary of a killed run has sent. Raises StorageError, DamageError."""
    path = journal / CANARY
    if path.exists():
        if (found := canary_in(journal)) is not None:
            ledger.close(path.name, found)
        path.unlink()


class CanaryRun:
    """Asks the drawn rows of one run. `shards` are those whose parts stand, with their sums."""

    def __init__(self, told: Canary, context: ShardContext, seed: int) -> None:
        self._told, self._context, self._seed = told, context, seed
        self._lookup = OutcomeLookup(context.validator)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.is_done = False
        # What is told in run.json.
        self.report: CanaryReport | None = None

    async def ask(self, shards: Mapping[int, tuple[Shard, Tally]]) -> Termination | None:
        """Ask rows of these shards again, and end the run where the model has changed.

        None too where the run ended meanwhile: nothing is known then. Raises StorageError, InputError.
        """
        rows = await asyncio.to_thread(self._draw, shards)
        if len(rows) < ROWS_LEAST:
            self.is_done = True
            self.report = CanaryReport(verdict="too few settled rows", seed=self._seed)
            return None
        segment = await self._open()
        try:
            drift = await self._compare(rows, segment)
        except StorageError as error:
            self._context.settler.gate.halt(refused_storage(error))
            return None
        finally:
            await in_thread(self._close, segment)
        if drift is None:
            return None
        self.is_done = True
        stops = drift.exceeds(self._told.drift)
        self.report = self._report(rows, drift, segment.replayed.sent, stops=stops)
        return self._stop(drift) if stops else None

    async def _compare(self, rows: list[_Drawn], segment: Segment) -> Drift | None:
        """Ask once; a second time only where the share that changed could be too high. None where the run ended."""
        if not await self._ask_all(rows, segment):
            return None
        answered = [row for row in rows if len(row.again) == 1]
        changed = [differs(row.stands, row.again[0]) for row in answered]
        if not changed or sum(changed) / len(changed) <= self._told.drift:
            return measure(changed, None, self._seed)
        if not await self._ask_all(answered, segment):
            return None
        twice = [row for row in answered if len(row.again) == 2]
        changed = [differs(row.stands, row.again[0]) for row in twice]
        return measure(changed, [differs(*row.again) for row in twice], self._seed)

    async def _ask_all(self, rows: list[_Drawn], segment: Segment) -> bool:
        """One more asking of each row. Returns whether all were asked."""
        slots = asyncio.Semaphore(max(1, 2 * self._context.concurrency * self._context.rows_per_call))

        async def ask(row: _Drawn) -> None:
            async with slots:
                await self._ask(row, segment)

        tasks = {row.stands.row_index: asyncio.create_task(ask(row)) for row in rows}
        self._tasks = tasks
        try:
            ended = await asyncio.gather(*tasks.values(), return_exceptions=True)
        finally:
            self._tasks = {}
        for result in ended:
            if isinstance(result, Exception) and not isinstance(result, Halted):
                raise result
        return not any(isinstance(result, BaseException) for result in ended)

    async def _ask(self, row: _Drawn, segment: Segment) -> None:
        settler, index = self._context.settler, row.stands.row_index
        try:
            outcome = await settler.settle(row.request, segment, Account())
            settler.sending.add(index)
            await segment.settle(outcome)
        finally:
            settler.landed(index)
        # A row whose calls came to nothing says nothing of the model.
        if outcome.status in (Status.OK, Status.INVALID, Status.REFUSED):
            row.again.append(outcome)

    def cancel_waiting(self) -> None:
        """End every row that is not in flight."""
        cancel(self._tasks, besides=self._context.settler.sending)

    def cancel_all(self) -> None:
        """End every row, in flight or not."""
        cancel(self._tasks)

    # Its rows.

    def _draw(self, shards: Mapping[int, tuple[Shard, Tally]]) -> list[_Drawn]:
        """Rows that are ok and paid for themselves, each as likely as another, with the requests that they asked."""
        rng = random.Random(self._seed)
        numbers = sorted(number for number, (_, tally) in shards.items() if tally.by_status.get(Status.OK.value))
        weights = [shards[number][1].by_status[Status.OK.value] for number in numbers]
        picks = rng.choices(numbers, weights, k=self._told.rows) if numbers else []
        found: list[_Drawn] = []
        for number in numbers:
            if count := picks.count(number):
                shard = shards[number][0]
                rows = self._settled(self._context.output.part_path(number))
                found += self._requests(shard, frozenset(rng.sample(rows, min(count, len(rows)))))
        return found

    def _settled(self, part: Path) -> list[int]:
        columns = ["row_index", "status", "reused_from", "finished_at"]
        table = pq.read_table(part, columns=columns, use_threads=False)
        since = self._told.since
        return [
            row
            for row, status, owner, finished in zip(*(table.column(name).to_pylist() for name in columns), strict=True)
            if status == Status.OK.value and owner is None
            and (since is None or (finished is not None and finished.astimezone(UTC).date() >= since))
        ]  # fmt: skip

    def _requests(self, shard: Shard, rows: frozenset[int]) -> list[_Drawn]:
        context, found = self._context, []
        held = 0
        for row in context.rows_of(shard):
            if held > MEDIA_HELD_MOST:
                break
            if row.index not in rows or not isinstance(row, Row):
                continue
            request = plan_row(context.planner, row, context.run_id)
            stands = self._lookup.of_row(context.output.part_path(shard.number), row.index)
            if isinstance(request, Request) and stands is not None and stands.request_key == request.key.hex():
                held += request.media_chars
                found.append(_Drawn(stands, request, []))
        return found

    # Its journal.

    async def _open(self) -> Segment:
        context = self._context
        head = Head(VERSION, context.job_fingerprint, NO_SHARD, secrets.token_hex(8))
        room = (context.concurrency + 1) * ANSWER_ROOM
        return await opened_segment(context.output.journal / CANARY, head, context.syncer, room=room)

    def _close(self, segment: Segment) -> None:
        """What was sent is in the ledger before its journal goes. Raises StorageError."""
        assert self._context.ledger is not None
        segment.close()
        self._context.ledger.close(segment.path.name, segment.replayed)
        self._context.output.drop(segment.path)

    # What it says.

    def _report(self, rows: list[_Drawn], drift: Drift, sent: Spent, *, stops: bool) -> CanaryReport:
        changed = [_change(row) for row in rows if row.again and differs(row.stands, row.again[0])]
        return CanaryReport(
            rows=drift.rows,
            unanswered=sum(not row.again for row in rows),
            changed_rows=len(changed),
            changed=drift.changed,
            changed_by_chance=drift.by_chance,
            low=drift.low,
            high=drift.high,
            p_value=drift.p_value,
            drift=self._told.drift,
            verdict=DRIFT if stops else "same",
            seed=self._seed,
            calls=sent.calls,
            cost_usd=decimal_string(sent.cost.usd) if sent.cost is not None else None,
            unknown_cost_bound_usd=decimal_string(sent.unknown_usd),
            examples=changed[:ROWS_TOLD],
        )

    def _stop(self, drift: Drift) -> Termination:
        assert drift.by_chance is not None
        return Termination(
            TerminationKind.DRIFT,
            None,
            f"the model answers otherwise than it did: of {drift.rows} settled rows asked again {drift.changed:.1%} of "
            f"the answers differ, {drift.by_chance:.1%} between two new askings (difference {drift.low:+.1%} to "
            f"{drift.high:+.1%}, p = {drift.p_value:.2g}); canary.drift allows {self._told.drift:.4g}",
            NEXT,
        )


def _change(row: _Drawn) -> ChangedRow:
    """A changed row as run.json tells it: its fields, before and now."""
    before, now = _told(row.stands), _told(row.again[0])
    fields = [
        ChangedField(name, before.get(name), now.get(name))
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    return ChangedRow(row.stands.row_id, row.stands.row_index, fields[:FIELDS_TOLD])


def _told(outcome: Outcome) -> dict[str, str]:
    if outcome.status is not Status.OK:
        return {"status": outcome.status.value}
    if outcome.labelling is not None:
        return {"label": ", ".join(outcome.labelling.labels or ())}
    if outcome.tool_calls:
        return {"tool_calls": one_line(str(outcome.tool_calls))[:WORDS]}
    return {name: one_line(str(value))[:WORDS] for name, (_, value) in leaves(outcome.output_text).items()}


def seed_of(run_id: str) -> int:
    """A seed of the run's own: each night draws other rows, and the same run the same."""
    return random.Random(run_id).getrandbits(32)
