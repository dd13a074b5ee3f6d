"""Shard: a range of rows from its journal's replay to its part. Rows fan out as bounded asyncio tasks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rowmill.schemas.attempt import FailureKind, Spent
from rowmill.schemas.errors import StorageError
from rowmill.schemas.manifest import PartDigest
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.row import Shard
from rowmill.schemas.tally import Tally
from rowmill.tasks.gateway.admission.halts import refused_storage
from rowmill.tasks.journal.entries import VERSION, Bill, Head
from rowmill.tasks.journal.replay import lost_call
from rowmill.tasks.journal.segment import ANSWER_ROOM, Segment, opened_segment
from rowmill.tasks.run.moved_shards import MovedShards
from rowmill.tasks.run.open_shard import OpenShard, Remaining
from rowmill.tasks.run.row_dispatcher import RowDispatcher
from rowmill.tasks.run.row_requests import RowRequests
from rowmill.tasks.run.settled_outcomes import SettledOutcomes
from rowmill.tasks.run.shard_context import ShardContext
from rowmill.tasks.run.shard_part import write_shard_part
from rowmill.tasks.run.turns import Turns

# Outcomes that are read back before calls in flight, and workers elsewhere, are heard again.
READ_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What came of a shard: its sums, and whether its part is written. Small enough to travel between processes."""

    number: int
    tally: Tally
    complete: bool
    unsettled: Spent
    digest: PartDigest


class ShardRun:
    """The shards of one run that are open now.

    One that does not ask (`asks`) settles what needs no call and notes what remains.
    """

    def __init__(self, context: ShardContext, *, asks: bool = True, requests: RowRequests | None = None) -> None:
        self._context, self.asks = context, asks
        self._moved = MovedShards(context)
        self._settled = SettledOutcomes(context, self._moved)
        self._rows = RowDispatcher(
            context,
            requests=requests or RowRequests(context),
            moved=self._moved,
            settled=self._settled,
            asks=asks,
        )
        self._turns = Turns()
        # What was sent from each segment that is not closed in the ledger yet, by shard number.
        self._sent: dict[int, Spent] = {}
        self._open: dict[int, Segment] = {}
        # Settled rows of each shard that progress knows of.
        self._known: dict[int, int] = {}
        self.tallies: dict[int, Tally] = {}

    def standing(self, shard: Shard, tally: Tally) -> None:
        """A part that stands already."""
        self._settled.in_part(shard)
        self.tallies[shard.number] = tally

    def take_only(self, only: Callable[[int], bool] | None) -> None:
        """Settle from here on the rows alone whose position `only` holds; None for all."""
        self._rows.only = only

    async def settle(self, shard: Shard) -> ShardReport:
        """Settle every row of a shard and write its part; where the run ends first, a preview of what is settled.

        Raises StorageError, DamageError, InputError.
        """
        async with self._opened(shard) as opened:
            complete = await self._rows.settle_rows(opened)
            if not complete:
                await self._keep_moved(opened)
            moved = self._moved.of(shard)
            digest = await asyncio.to_thread(write_shard_part, self._context, opened, moved=moved, complete=complete)
            if complete:
                self._settled.in_part(shard)
                self._moved.drop(shard)
            return ShardReport(shard.number, opened.tally, complete, opened.segment.replayed.unsettled, digest)

    async def settle_in_journal(self, shard: Shard) -> Remaining:
        """Settle what is to be settled here, and write no part. Returns what remains for others to ask."""
        async with self._opened(shard) as opened:
            await self._rows.settle_rows(opened)
        return opened.remaining

    @asynccontextmanager
    async def _opened(self, shard: Shard) -> AsyncIterator[OpenShard]:
        """The shard with its journal, which goes when its part is written."""
        tally = self.tallies[shard.number] = Tally()
        with self._turns.next() as turn:
            segment = await self._open_segment(shard, tally)
            await self._move(shard, segment, tally)
            opened = OpenShard(shard, segment, tally, self._show, turn)
            self._open[shard.number] = segment
            self._settled.opened(opened)
            try:
                yield opened
            finally:
                await self._close(opened)

    async def _close(self, opened: OpenShard) -> None:
        shard, segment = opened.shard, opened.segment
        del self._open[shard.number]
        self._settled.closed(opened)
        self._known[shard.number] = len(segment.settled)
        self._sent[shard.number] = segment.replayed.sent
        segment.close()
        if self._settled.has_part(shard):
            await asyncio.to_thread(self._retire, shard, segment)

    async def _open_segment(self, shard: Shard, tally: Tally) -> Segment:
        """The shard's journal, with calls that were in flight at a crash written down as maybe paid."""
        context = self._context
        head = Head(VERSION, context.job_fingerprint, shard, secrets.token_hex(8))
        room = (context.concurrency * context.rows_per_call + 1) * ANSWER_ROOM
        segment = await opened_segment(context.output.segment_path(shard.number), head, context.syncer, room=room)
        known = self._known.get(shard.number)
        for place, row in enumerate(segment.settled):
            if place % READ_AT_ONCE == 0:
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
        """Take the shard's rows from former parts where they stand there as they are."""
        if self._rows.only is None:
            await self._moved.find(shard, segment)
        if (moved := self._moved.of(shard)) is not None:
            tally.merge(await asyncio.to_thread(moved.tally))

    async def _keep_moved(self, opened: OpenShard) -> None:
        try:
            await self._moved.keep_in(opened.segment, opened.shard)
        except StorageError as error:
            self._context.settler.gate.halt(refused_storage(error))
        self._moved.drop(opened.shard)

    def _retire(self, shard: Shard, segment: Segment) -> None:
        """Close the segment of a shard whose part is written in the ledger, then let it go. Raises StorageError."""
        if self._context.ledger is not None:
            self._context.ledger.close(segment.path.name, segment.replayed)
        self._sent.pop(shard.number, None)
        self._context.output.drop(segment.path)

    def is_settled(self, row: int) -> bool:
        """Whether a row has its outcome, as far as this run has seen."""
        return self._settled.holds(row)

    def sent_before(self, sent: Mapping[int, Spent]) -> None:
        """What was sent from segments that stand already and are not open."""
        self._sent.update(sent)

    @property
    def sent(self) -> Spent:
        """All that was sent from segments that the ledger does not hold yet."""
        closed = [spent for number, spent in self._sent.items() if number not in self._open]
        return sum([*closed, *(segment.replayed.sent for segment in self._open.values())], Spent())

    def _show(self, outcome: Outcome) -> None:
        """Tell progress of a settled row; one that was asked here was taken up before."""
        if not self.asks:
            self._context.progress.take_up(outcome.row_index)
        self._context.progress.add(outcome)
        if self._context.watch is not None:
            self._context.watch.note(outcome)

    def cancel_waiting(self) -> None:
        """End every row that is not in flight."""
        self._rows.tasks.cancel(besides=self._context.settler.sending)

    def cancel_all(self) -> None:
        """End every row, in flight or not: what is in flight may then be paid for unseen."""
        self._rows.tasks.cancel()
