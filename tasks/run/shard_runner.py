"""Shard: a range of rows from its journal's replay to its part. Rows fan out as bounded asyncio tasks."""

from __future__ import annotations

import asyncio
import secrets
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Container, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from rowmill.schemas.attempt import FailureKind, Spent
from rowmill.schemas.errors import StorageError
from rowmill.schemas.json_text import decode_json
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row, Shard, Unreadable
from rowmill.schemas.tally import Tally
from rowmill.schemas.termination import OUT_OF_MONEY, Termination, TerminationKind
from rowmill.tasks.answers.evidence_answer import unsupported, unsupported_message
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.fields.vote_evidence import evidence_of_votes
from rowmill.tasks.gateway.admission.gate import Halted
from rowmill.tasks.gateway.admission.halts import refused_storage
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.line_digests import LineDigests
from rowmill.tasks.journal.entries import VERSION, Bill, Head
from rowmill.tasks.journal.group_commit import Syncer
from rowmill.tasks.journal.ledger import Ledger
from rowmill.tasks.journal.replay import lost_call
from rowmill.tasks.journal.segment import ANSWER_ROOM, Segment, outcome_at
from rowmill.tasks.output.answer_cache import AnswerCache
from rowmill.tasks.output.answer_index import Place
from rowmill.tasks.output.folder import Layout
from rowmill.tasks.output.moved_rows import MovedRows, MovedShard
from rowmill.tasks.output.part_reader import OutcomeLookup
from rowmill.tasks.output.part_writer import (
    BATCH_ROWS,
    GROUP_ROWS,
    PART_VERSION,
    Footer,
    Mixed,
    PartColumns,
    part_digest,
    tally_value,
    write_mixed_part,
    write_part,
)
from rowmill.tasks.output.reprojection import Projection
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.quality_watch import QualityWatch
from rowmill.tasks.settle.defect import plan_row
from rowmill.tasks.settle.pack_settler import PackSettler
from rowmill.tasks.settle.settler import Settler
from rowmill.tasks.settle.voter import Voter

# Rows taken up beyond those in flight: they wait for a retry or for the limiter while others are sent.
BACKLOG = 64
# Rows that wait for a retry beside them.
RETRIED_MOST = 4_096
PLANNED_AT_ONCE = 64
# Characters of base64 that all rows taken up may hold together.
MEDIA_HELD_MOST = 256 * 2**20
DEFECT = Termination(
    TerminationKind.INTERRUPTED,
    "defect",
    "rowmill met a defect of its own",
    "Run the same command again, and report it",
)


@dataclass(frozen=True, slots=True)
class ShardContext:
    """What every shard of a run works with, in one process."""

    output: Layout
    job_fingerprint: str
    planner: Planner
    validator: Validator
    settler: Settler | PackSettler | Voter
    keys: KeyIndex
    answer_cache: AnswerCache
    ledger: Ledger | None
    syncer: Syncer
    projection: Projection | None
    lines: LineDigests | None
    moved: MovedRows | None
    concurrency: int
    rows_per_call: int
    reads_media: bool
    run_id: str
    progress: Progress
    duplicates: Mapping[int, int]
    rows_of: Callable[[Shard], Iterator[Row | Unreadable]]
    watch: QualityWatch | None = None


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What came of a shard: its sums, and whether its part is written. Small enough to travel between processes."""

    number: int
    tally: Tally
    complete: bool
    unsettled: Spent
    digest: dict[str, Any]


@dataclass(slots=True)
class Remaining:
    """Rows of a shard that somebody else is to ask, as ranges of positions (both ends inclusive), and the rows whose
    answers others of the shard wait for.
    """

    ranges: list[tuple[int, int]] = field(default_factory=list)
    owners: set[int] = field(default_factory=set)

    def ask(self, row: int) -> None:
        """One row more; rows come in order."""
        if self.ranges and self.ranges[-1][1] == row - 1:
            self.ranges[-1] = (self.ranges[-1][0], row)
        else:
            self.ranges.append((row, row))


class ShardRun:
    """The shards of one run that are open now; rows with the same request find each other here.

    One that does not ask (`asks`) settles what needs no call and notes what is left.
    """

    def __init__(self, context: ShardContext, *, asks: bool = True) -> None:
        self._context, self.asks = context, asks
        self._lookup = OutcomeLookup(context.validator)
        # What was sent from each segment that is not closed in the ledger yet, by shard number.
        self._sent: dict[int, Spent] = {}
        self._window = asyncio.Semaphore((2 * context.concurrency + BACKLOG) * context.rows_per_call)
        # Rows that failed and will be tried again leave their place to others.
        self._retried: set[int] = set()
        context.settler.gate.on_retry = self._on_retry
        self._dispatching = asyncio.Lock()
        self._waiting_rows: dict[int, asyncio.Future[Outcome]] = {}
        self._open: dict[int, tuple[Shard, Segment]] = {}
        self._parts: dict[int, Shard] = {}
        # Segments of shards that were closed before their last row: where each settled row stands in its file.
        self._resting: dict[int, tuple[Path, Mapping[int, tuple[int, int]]]] = {}
        # Rows of shards whose part is not written yet that are taken from former parts, by shard number.
        self._moved: dict[int, MovedShard] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._media_held = 0
        # Settled rows of each shard that progress knows of.
        self._known: dict[int, int] = {}
        self._left: dict[int, Remaining] = {}
        # Which rows to settle now, by their position; None for all.
        self.only: Callable[[int], bool] | None = None
        self.tallies: dict[int, Tally] = {}

    def standing(self, shard: Shard, tally: Tally) -> None:
        """A part that stands already."""
        self._parts[shard.number] = shard
        self.tallies[shard.number] = tally

    async def settle(self, shard: Shard) -> ShardReport:
        """Settle every row of a shard and write its part; where the run ends first, a preview of what is settled.

        Raises StorageError, DamageError, InputError.
        """
        async with self._opened(shard) as (segment, tally):
            complete = await self._settle_rows(shard, segment, tally)
            if not complete:
                await self._keep_moved(shard, segment)
            digest = await asyncio.to_thread(self._write_part, shard, segment, tally, complete=complete)
            if complete:
                self._parts[shard.number] = shard
                self._moved.pop(shard.number, None)
            return ShardReport(shard.number, tally, complete, segment.replayed.unsettled, digest)

    async def settle_in_journal(self, shard: Shard) -> Remaining:
        """Settle what is to be settled here, and write no part. Returns what is left for others to ask."""
        left = self._left[shard.number] = Remaining()
        async with self._opened(shard) as (segment, tally):
            await self._settle_rows(shard, segment, tally)
        del self._left[shard.number]
        return left

    @asynccontextmanager
    async def _opened(self, shard: Shard) -> AsyncIterator[tuple[Segment, Tally]]:
        """The shard's journal, which goes when its part is written, and the sums of what it holds."""
        tally = self.tallies[shard.number] = Tally()
        segment = await self._open_segment(shard, tally)
        await self._move(shard, segment, tally)
        self._open[shard.number] = (shard, segment)
        self._resting.pop(shard.number, None)
        try:
            yield segment, tally
        finally:
            del self._open[shard.number]
            self._known[shard.number] = len(segment.settled)
            self._sent[shard.number] = segment.replayed.sent
            segment.close()
            if shard.number in self._parts:
                await asyncio.to_thread(self._retire, shard, segment)
            else:
                self._resting[shard.number] = (segment.path, segment.settled)

    async def _open_segment(self, shard: Shard, tally: Tally) -> Segment:
        """The shard's journal, with calls that were in flight at a crash written down as maybe paid."""
        context = self._context
        head = Head(VERSION, context.job_fingerprint, shard, secrets.token_hex(8))
        room = (context.concurrency * context.rows_per_call + 1) * ANSWER_ROOM
        segment = Segment(context.output.segment_path(shard.number), head, context.syncer, room=room)
        known = self._known.get(shard.number)
        for place, row in enumerate(segment.settled):
            if place % PLANNED_AT_ONCE == 0:
                # Calls in flight, and workers elsewhere, are heard meanwhile.
                await asyncio.sleep(0)
            outcome = segment.outcome(row)
            tally.add(outcome)
            if known is not None and place >= known:
                # Settled elsewhere since we had it open.
                self._show(outcome)
            if outcome.request_key and outcome.reused_from is None:
                context.keys.owner(bytes.fromhex(outcome.request_key), row)
        if known is None:
            context.progress.begin(tally)
        for intent in list(segment.replayed.in_flight.values()):
            segment.bill(Bill(intent.row, intent.attempt, FailureKind.INTERRUPTED.value, lost_call(intent)))
        return segment

    async def _move(self, shard: Shard, segment: Segment, tally: Tally) -> None:
        """Find the shard's rows that stand in former parts as they are, and whose requests no other row has."""
        context = self._context
        if shard.number not in self._moved and context.moved is not None and self.only is None:
            try:
                await self._find_moved(context.moved, shard, segment)
            except (OSError, pa.ArrowException):
                # Its rows are looked for by their requests, and the damage is told there.
                return
            if (found := self._moved.get(shard.number)) is not None:
                context.progress.begin(await asyncio.to_thread(found.tally))
        if (moved := self._moved.get(shard.number)) is not None:
            tally.merge(await asyncio.to_thread(moved.tally))

    async def _find_moved(self, source: MovedRows, shard: Shard, segment: Segment) -> None:
        context = self._context
        assert context.lines is not None
        besides = [*segment.settled, *(row for row in context.duplicates if shard.first_row <= row <= shard.last_row)]
        found = await asyncio.to_thread(source.find, context.lines.of(shard), shard.first_row, besides)
        if found is None:
            return
        rows, keys = found.rows.tolist(), await asyncio.to_thread(found.keys)
        # All of it can be read: from here on the rows are these, also for those of other shards that ask the same.
        await asyncio.to_thread(found.tally)
        owners = context.keys.owners(list(zip(keys, rows, strict=True)))
        others = frozenset(row for row, owner in zip(rows, owners, strict=True) if owner != row)
        if (moved := found.without(others) if others else found) is not None:
            self._moved[shard.number] = moved

    async def _keep_moved(self, shard: Shard, segment: Segment) -> None:
        """Write the moved rows of a shard that is not complete into its journal: what the run shows is then there."""
        moved = self._moved.get(shard.number)
        if moved is None:
            return
        try:
            for place, outcome in enumerate(moved.outcomes()):
                segment.note(outcome)
                if place % PLANNED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            segment.flush()
        except StorageError as error:
            self._context.settler.gate.halt(refused_storage(error))
        del self._moved[shard.number]

    def _moved_rows(self, shard: Shard) -> frozenset[int]:
        moved = self._moved.get(shard.number)
        return moved.known if moved is not None else frozenset()

    async def _settle_rows(self, shard: Shard, segment: Segment, tally: Tally) -> bool:
        """Take up the rows in order, one shard at a time; its last calls overlap with the next shard's first."""
        tasks: list[asyncio.Task[None]] = []
        try:
            async with self._dispatching:
                rows = self._rows(shard, segment)
                if not self._context.answer_cache.is_indexed and len(self._moved_rows(shard)) < shard.rows:
                    await asyncio.to_thread(self._context.answer_cache.make_index)
                while few := list(islice(rows, 1 if self._context.reads_media else PLANNED_AT_ONCE)):
                    await self._take_up(few, segment, tally, tasks=tasks)
        except Halted:
            await self._take_over(shard, segment, tally)
        except StorageError as error:
            self._context.settler.gate.halt(refused_storage(error))
        except Exception:
            self._context.settler.gate.halt(DEFECT)
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        # Most have ended long since: to gather those too would hold up the loop for each of them once more.
        await asyncio.gather(*(task for task in tasks if not task.done()), return_exceptions=True)
        for task in tasks:
            failed = None if task.cancelled() else task.exception()
            if isinstance(failed, Exception) and not isinstance(failed, Halted):
                raise failed
        try:
            segment.flush()
        except StorageError as error:
            self._context.settler.gate.halt(refused_storage(error))
        return len(segment.settled) + len(self._moved_rows(shard)) == shard.rows

    async def _take_over(self, shard: Shard, segment: Segment, tally: Tally) -> None:
        """Answers that are known already, for rows that a run without money cannot ask: what was paid for is shown."""
        termination = self._context.settler.gate.termination
        if termination is None or termination.kind not in OUT_OF_MONEY or self._context.answer_cache.is_empty:
            return
        rows = (row for row in self._rows(shard, segment) if row.index not in self._tasks)
        while few := list(islice(rows, PLANNED_AT_ONCE)):
            planned = await asyncio.to_thread(self._plan, few)
            asked = [(told.key, told.row.index) for told in planned if isinstance(told, Request)]
            owners, places = self._known_places(asked)
            for told in planned:
                if isinstance(told, Outcome):
                    self._note(told, segment, tally)
                    continue
                owner, place = next(owners), next(places)
                if place is not None and (known := self._known_answer(told, place, segment)) is not None:
                    self._note(known, segment, tally)
                else:
                    self._leave(told, owner, segment, tally=tally)
            await asyncio.sleep(0)

    def _rows(self, shard: Shard, segment: Segment) -> Iterator[Row | Unreadable]:
        """The rows that are to be settled now."""
        only, moved = self.only, self._moved_rows(shard)
        if len(moved) == shard.rows:
            return
        for row in self._context.rows_of(shard):
            if row.index not in segment.settled and row.index not in moved and (only is None or only(row.index)):
                yield row

    async def _take_up(
        self, rows: list[Row | Unreadable], segment: Segment, tally: Tally, *, tasks: list[asyncio.Task[None]]
    ) -> None:
        """Settle rows that need no call at once; give each other one a task of its own."""
        context = self._context
        # Media are read from disk: not in the loop that calls in flight need.
        planned = await asyncio.to_thread(self._plan, rows) if context.reads_media else self._plan(rows)
        asked = [(told.key, told.row.index) for told in planned if isinstance(told, Request)]
        owners, places = self._known_places(asked)
        for told in planned:
            if context.settler.gate.termination is not None:
                raise Halted
            row = told.row_index if isinstance(told, Outcome) else told.row.index
            if self.asks:
                context.progress.take_up(row)
            if isinstance(told, Outcome):
                self._note(told, segment, tally)
                continue
            owner, place = next(owners), next(places)
            if place is not None and (known := self._known_answer(told, place, segment)) is not None:
                self._note(known, segment, tally)
            elif self.asks:
                await self._begin(told, owner, segment, tally=tally, tasks=tasks)
            else:
                self._leave(told, owner, segment, tally=tally)
        # A breath for the calls in flight.
        await asyncio.sleep(0)

    async def _begin(
        self, request: Request, owner: int, segment: Segment, *, tally: Tally, tasks: list[asyncio.Task[None]]
    ) -> None:
        """A row whose answer is not known yet: ask, or wait for the row that asks the same."""
        if owner != request.row.index and not self._will_tell(owner):
            return
        await self._window.acquire()
        await self._media_room(request.media_chars)
        if owner == request.row.index:
            self._waiting_rows[owner] = asyncio.get_running_loop().create_future()
            work = self._ask(request, segment, tally)
        else:
            work = self._copy(request, owner, segment, tally=tally)
        task = asyncio.create_task(work)
        self._tasks[request.row.index] = task
        self._media_held += request.media_chars
        task.add_done_callback(partial(self._ended, request.row.index, request.media_chars))
        tasks.append(task)

    def _will_tell(self, owner: int) -> bool:
        """Whether the row that asks the same is answered, or to be asked now. Where only some rows are settled it may
        be neither: its turn comes later, and with it that of the rows that wait for it.
        """
        if self.only is None or self.only(owner) or owner in self._waiting_rows:
            return True
        return self._settled_outcome(owner) is not None

    def _leave(self, request: Request, owner: int, segment: Segment, *, tally: Tally) -> None:
        """A row that nobody asks here, unless the row that asks the same is settled already."""
        row = request.row.index
        if owner != row and (found := self._settled_outcome(owner)) is not None:
            self._note(self._copy_of(found, request), segment, tally)
        elif (left := self._left.get(segment.replayed.head.shard.number)) is not None:
            if owner == row:
                left.ask(row)
            else:
                left.owners.add(owner)

    def _ended(self, row: int, media_chars: int, _: asyncio.Task[None]) -> None:
        del self._tasks[row]
        self._media_held -= media_chars
        if row in self._retried:
            self._retried.discard(row)
        else:
            self._window.release()

    def _on_retry(self, row: int) -> None:
        if row in self._tasks and row not in self._retried and len(self._retried) < RETRIED_MOST:
            self._retried.add(row)
            self._window.release()

    async def _media_room(self, chars: int) -> None:
        """Wait until the media of the rows taken up leave room for these."""
        while self._media_held and self._media_held + chars > MEDIA_HELD_MOST and self._tasks:
            await asyncio.wait(list(self._tasks.values()), return_when=asyncio.FIRST_COMPLETED)

    def _plan(self, rows: list[Row | Unreadable]) -> list[Request | Outcome]:
        return [self._planned(row) for row in rows]

    def _planned(self, row: Row | Unreadable) -> Request | Outcome:
        context = self._context
        if isinstance(row, Unreadable):
            return context.planner.never_read(row)
        first = context.duplicates.get(row.index)
        if first is not None:
            return context.planner.stands_twice(row, first)
        return plan_row(context.planner, row, context.run_id)

    def _known_places(self, asked: Sequence[tuple[bytes, int]]) -> tuple[Iterator[int], Iterator[Place | None]]:
        """Of requests and their rows: the row that owns each, and where its answer stands if that is the row itself."""
        owners = self._context.keys.owners(asked)
        own = [key for (key, row), owner in zip(asked, owners, strict=True) if owner == row]
        found = iter(self._context.answer_cache.places(own))
        places = (next(found) if owner == row else None for (_, row), owner in zip(asked, owners, strict=True))
        return iter(owners), places

    def _known_answer(self, request: Request, place: Place, segment: Segment) -> Outcome | None:
        """The row's answer from before the input changed, where its request was paid for then.

        A request that was paid for and has no answer, or one that is to be tried again, leaves its account.
        """
        row = request.row.index
        found = self._context.answer_cache.at(place, request.key)
        if isinstance(found, Outcome):
            return carried(found, request, self._context.validator)
        if row not in segment.replayed.accounts:
            segment.open_account(row, found)
        return None

    async def _ask(self, request: Request, segment: Segment, tally: Tally) -> None:
        """Settle a row by calls of its own."""
        row = request.row.index
        waiting = self._waiting_rows[row]
        try:
            outcome = await self._context.settler.settle(request, segment, segment.replayed.account(row))
            # Its end is known: a halt that comes while it is made durable does not undo it.
            self._context.settler.sending.add(row)
            await segment.settle(outcome)
            self._count(outcome, tally)
            waiting.set_result(outcome)
        except StorageError as error:
            self._context.settler.gate.halt(refused_storage(error))
            raise Halted from None
        except (Halted, asyncio.CancelledError):
            raise
        except Exception:
            self._context.settler.gate.halt(DEFECT)
            raise
        finally:
            self._context.settler.landed(row)
            if not waiting.done():
                waiting.cancel()
            del self._waiting_rows[row]

    async def _copy(self, request: Request, owner: int, segment: Segment, *, tally: Tally) -> None:
        """A row whose identical request another row pays for."""
        if (waiting := self._waiting_rows.get(owner)) is not None:
            await asyncio.wait([waiting])
            if waiting.cancelled():
                raise Halted
            found: Outcome | None = waiting.result()
        else:
            found = self._settled_outcome(owner)
        assert found is not None, f"row {owner} owns a request and has no outcome"
        self._note(self._copy_of(found, request), segment, tally)

    def _copy_of(self, owner: Outcome, request: Request) -> Outcome:
        return copy_of(owner, request, self._context.run_id, validator=self._context.validator)

    def _settled_outcome(self, row: int) -> Outcome | None:
        for _, segment in self._open.values():
            if row in segment.settled:
                return segment.outcome(row)
        for moved in self._moved.values():
            if row in moved.known:
                return moved.outcome(row)
        for path, settled in self._resting.values():
            if (place := settled.get(row)) is not None:
                return outcome_at(path, *place)
        for number, shard in self._parts.items():
            if shard.first_row <= row <= shard.last_row:
                return self._lookup.of_row(self._context.output.part_path(number), row)
        return None

    def is_settled(self, row: int) -> bool:
        """Whether a row has its outcome, as far as this run has seen."""
        if any(row in segment.settled for _, segment in self._open.values()):
            return True
        if any(row in moved.known for moved in self._moved.values()):
            return True
        if any(row in settled for _, settled in self._resting.values()):
            return True
        return any(shard.first_row <= row <= shard.last_row for shard in self._parts.values())

    def _retire(self, shard: Shard, segment: Segment) -> None:
        """Close the segment of a shard whose part is written in the ledger, then let it go. Raises StorageError."""
        if self._context.ledger is not None:
            self._context.ledger.close(segment.path.name, segment.replayed)
        self._sent.pop(shard.number, None)
        self._context.output.drop(segment.path)

    def sent_before(self, sent: Mapping[int, Spent]) -> None:
        """What was sent from segments that stand already and are not open."""
        self._sent.update(sent)

    @property
    def sent(self) -> Spent:
        """All that was sent from segments that the ledger does not hold yet."""
        closed = [spent for number, spent in self._sent.items() if number not in self._open]
        return sum([*closed, *(segment.replayed.sent for _, segment in self._open.values())], Spent())

    def _note(self, outcome: Outcome, segment: Segment, tally: Tally) -> None:
        segment.note(outcome)
        self._count(outcome, tally)

    def _count(self, outcome: Outcome, tally: Tally) -> None:
        tally.add(outcome)
        self._show(outcome)

    def _show(self, outcome: Outcome) -> None:
        """Tell progress of a settled row; one that was asked here was taken up before."""
        if not self.asks:
            self._context.progress.take_up(outcome.row_index)
        self._context.progress.add(outcome)
        if self._context.watch is not None:
            self._context.watch.note(outcome)

    def _write_part(self, shard: Shard, segment: Segment, tally: Tally, *, complete: bool) -> dict[str, Any]:
        context = self._context
        moved = self._moved.get(shard.number)
        rows = sorted(segment.settled)
        if not rows and moved is None:
            return {}
        footer = Footer(PART_VERSION, context.job_fingerprint, shard, complete, tally_value(tally))
        shape = context.validator.shape if context.validator.has_schema else None
        path, projection = context.output.part_path(shard.number), context.projection
        assert projection is not None
        lines = context.lines.of(shard) if context.lines is not None and complete else None
        columns = PartColumns(projection.schema, shape, projection.kept.of(shard), projection.grader)
        if moved is not None and lines is not None:
            groups = _mixed(shard, segment, rows, moved=moved)
            write_mixed_part(path, columns, groups, footer=footer, lines=lines)
        else:
            batches = (list(segment.outcomes(rows[at : at + BATCH_ROWS])) for at in range(0, len(rows), BATCH_ROWS))
            write_part(path, columns, batches, footer=footer, lines=lines)
        context.output.keep(path)
        return part_digest(path)

    def cancel_waiting(self) -> None:
        """End every row that is not in flight."""
        cancel(self._tasks, besides=self._context.settler.sending)

    def cancel_all(self) -> None:
        """End every row, in flight or not: what is in flight may then be paid for unseen."""
        cancel(self._tasks)


def _mixed(shard: Shard, segment: Segment, settled: Sequence[int], *, moved: MovedShard) -> Iterator[Mixed]:
    """The rows of a shard, GROUP_ROWS at a time: those that are moved, and those that were settled here."""
    for first in range(shard.first_row, shard.first_row + shard.rows, GROUP_ROWS):
        rows = settled[bisect_left(settled, first) : bisect_left(settled, first + GROUP_ROWS)]
        yield moved.between(first, first + GROUP_ROWS), list(segment.outcomes(rows)) if rows else []


def cancel(tasks: Mapping[int, asyncio.Task[None]], *, besides: Container[int] = ()) -> None:
    """End the tasks of rows, but for some rows' (those in flight)."""
    for row, task in tasks.items():
        if row not in besides:
            task.cancel()


def carried(found: Outcome, request: Request, validator: Validator) -> Outcome:
    """An outcome that is this row's too: the row tells its id, its place, its gold, and the texts of its evidence."""
    told = found.labelling
    same = msgspec.structs.replace(
        found,
        row_id=request.row.row_id,
        row_index=request.row.index,
        labelling=None if told is None else msgspec.structs.replace(told, gold=request.gold),
    )
    return same if found.evidence is None else _with_evidence(same, request, validator)


def _with_evidence(outcome: Outcome, request: Request, validator: Validator) -> Outcome:
    """The outcome with its quotes looked up in this row's columns: rows whose prompts are equal may differ in them."""
    texts = (
        [outcome.response_text, *(vote.text for vote in outcome.voting.votes)]
        if outcome.voting
        else [outcome.response_text]
    )
    verdicts = [validator.judge(text) for text in texts if text is not None]
    accepted = [verdict for verdict in verdicts if isinstance(verdict, Accepted)]
    if not accepted or outcome.output_text is None:
        return outcome
    supported = [(decode_json(one.text), validator.evidence(one, request.row.columns)) for one in accepted]
    evidence = evidence_of_votes(decode_json(outcome.output_text), supported)
    lacking = unsupported(evidence)
    if not lacking or not validator.requires_evidence:
        return msgspec.structs.replace(outcome, evidence=evidence)
    return msgspec.structs.replace(
        outcome,
        status=Status.INVALID,
        output_text=None,
        evidence=None,
        error_kind=FailureKind.UNSUPPORTED_FIELD.value,
        error_message=unsupported_message(lacking),
    )


def copy_of(owner: Outcome, request: Request, run_id: str, *, validator: Validator) -> Outcome:
    """The outcome of a row whose identical request was paid for by another: same answer, no cost."""
    same = carried(owner, request, validator)
    if same.labelling is not None:
        unpaid = tuple(msgspec.structs.replace(vote, spent=Spent()) for vote in same.labelling.votes)
        same = msgspec.structs.replace(same, labelling=msgspec.structs.replace(same.labelling, votes=unpaid))
    if same.voting is not None:
        unpaid = tuple(msgspec.structs.replace(vote, spent=Spent()) for vote in same.voting.votes)
        same = msgspec.structs.replace(same, voting=msgspec.structs.replace(same.voting, votes=unpaid))
    return msgspec.structs.replace(
        same,
        spent=Spent(),
        wasted_usd=0,
        reused_from=owner.row_id,
        failures={},
        run_id=run_id,
    )
