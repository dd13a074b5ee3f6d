"""Row dispatcher: takes up the rows of open shards in order, asks those that must be asked, and copies the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice

from rowmill.schemas.errors import StorageError
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row, Unreadable
from rowmill.schemas.termination import OUT_OF_MONEY
from rowmill.tasks.gateway.admission.gate import Halted
from rowmill.tasks.gateway.admission.halts import DEFECT, refused_storage
from rowmill.tasks.output.answer_index import Place
from rowmill.tasks.run.moved_shards import MovedShards
from rowmill.tasks.run.open_shard import OpenShard
from rowmill.tasks.run.reuse import reused
from rowmill.tasks.run.row_requests import RowRequests
from rowmill.tasks.run.row_tasks import RowTasks
from rowmill.tasks.run.settled_outcomes import SettledOutcomes
from rowmill.tasks.run.shard_context import ShardContext

PLANNED_AT_ONCE = 64


class RowDispatcher:
    """Settles the rows of a run's open shards; rows with the same request find each other here.

    One that does not ask (`asks`) settles what needs no call and notes what remains.
    """

    def __init__(
        self,
        context: ShardContext,
        *,
        requests: RowRequests,
        moved: MovedShards,
        settled: SettledOutcomes,
        asks: bool,
    ) -> None:
        self._context, self._requests, self._moved, self._settled = context, requests, moved, settled
        self._asks = asks
        self._waiting_rows: dict[int, asyncio.Future[Outcome]] = {}
        self.tasks = RowTasks(context.concurrency, context.rows_per_call)
        context.settler.gate.on_retry = self.tasks.on_retry
        # Which rows to settle now, by their position; None for all.
        self.only: Callable[[int], bool] | None = None

    async def settle_rows(self, opened: OpenShard) -> bool:
        """Settle the rows of a shard. Returns whether all are. Raises StorageError, DamageError, InputError."""
        gate, tasks = self._context.settler.gate, list[asyncio.Task[None]]()
        try:
            # One shard's rows are taken up at a time; its last calls overlap with the next shard's first.
            with opened.turn:
                await opened.turn.come()
                await self._take_up_all(opened, tasks)
        except Halted:
            await self._take_over(opened)
        except StorageError as error:
            gate.halt(refused_storage(error))
        except Exception:
            gate.halt(DEFECT)
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        # Most have ended long since: to gather those too would hold up the loop for each of them once more.
        await asyncio.gather(*(task for task in tasks if not task.done()), return_exceptions=True)
        for task in tasks:
            failed = None if task.cancelled() else task.exception()
            if isinstance(failed, Exception) and not isinstance(failed, Halted):
                raise failed
        try:
            opened.segment.flush()
        except StorageError as error:
            gate.halt(refused_storage(error))
        return len(opened.segment.settled) + len(self._moved.rows(opened.shard)) == opened.shard.rows

    def _rows(self, opened: OpenShard) -> Iterator[Row | Unreadable]:
        """The rows that are to be settled now."""
        only, settled, moved = self.only, opened.segment.settled, self._moved.rows(opened.shard)
        if len(moved) == opened.shard.rows:
            return
        for row in self._context.rows_of(opened.shard):
            if row.index not in settled and row.index not in moved and (only is None or only(row.index)):
                yield row

    async def _take_up_all(self, opened: OpenShard, tasks: list[asyncio.Task[None]]) -> None:
        cache, rows = self._context.answer_cache, self._rows(opened)
        if not cache.is_indexed and len(self._moved.rows(opened.shard)) < opened.shard.rows:
            await asyncio.to_thread(cache.make_index)
        while few := list(islice(rows, 1 if self._context.reads_media else PLANNED_AT_ONCE)):
            await self._take_up(few, opened, tasks)

    async def _take_up(self, rows: list[Row | Unreadable], opened: OpenShard, tasks: list[asyncio.Task[None]]) -> None:
        """Settle rows that need no call at once; give each other one a task of its own."""
        context, plan = self._context, self._requests.plan
        # Media are read from disk: not in the loop that calls in flight need.
        planned = await asyncio.to_thread(plan, rows) if context.reads_media else plan(rows)
        owners = self._requests.owners(planned)
        for told in planned:
            if context.settler.gate.termination is not None:
                raise Halted
            if self._asks:
                context.progress.take_up(told.row_index if isinstance(told, Outcome) else told.row.index)
            if (unknown := self._note_known(told, owners, opened)) is None:
                continue
            request, owner = unknown
            if not self._asks:
                self._leave(request, owner, opened)
            elif (task := await self._begin(request, owner, opened)) is not None:
                tasks.append(task)
        # Calls in flight are heard meanwhile.
        await asyncio.sleep(0)

    async def _take_over(self, opened: OpenShard) -> None:
        """Answers that are known already, for rows that a run without money cannot ask: what was paid for is shown."""
        termination = self._context.settler.gate.termination
        if termination is None or termination.kind not in OUT_OF_MONEY or self._context.answer_cache.is_empty:
            return
        rows = (row for row in self._rows(opened) if row.index not in self.tasks)
        while few := list(islice(rows, PLANNED_AT_ONCE)):
            planned = await asyncio.to_thread(self._requests.plan, few)
            owners = self._requests.owners(planned)
            for told in planned:
                if (unknown := self._note_known(told, owners, opened)) is not None:
                    self._leave(*unknown, opened)
            await asyncio.sleep(0)

    def _note_known(
        self, told: Request | Outcome, owners: Iterator[tuple[int, Place | None]], opened: OpenShard
    ) -> tuple[Request, int] | None:
        """Write down a row's outcome where it is known; else its request, and the row that owns that."""
        if isinstance(told, Outcome):
            opened.note(told)
            return None
        owner, place = next(owners)
        if (known := self._requests.known_answer(told, place, opened.segment)) is not None:
            opened.note(known)
            return None
        return told, owner

    def _leave(self, request: Request, owner: int, opened: OpenShard) -> None:
        """A row that nobody asks here, unless the row that asks the same is settled already."""
        row = request.row.index
        if owner == row:
            opened.remaining.ask(row)
        elif (found := self._settled.of(owner)) is not None:
            opened.note(self._reused(found, request))
        else:
            opened.remaining.owners.add(owner)

    async def _begin(self, request: Request, owner: int, opened: OpenShard) -> asyncio.Task[None] | None:
        """A row whose answer is not known yet: ask, or wait for the row that asks the same. None: its turn is later."""
        is_own = owner == request.row.index
        if not is_own and not self._will_tell(owner):
            return None
        await self.tasks.room_for(request)
        if not is_own:
            return self.tasks.start(request, self._copy(request, owner, opened))
        self._waiting_rows[owner] = asyncio.get_running_loop().create_future()
        return self.tasks.start(request, self._ask(request, opened))

    def _will_tell(self, owner: int) -> bool:
        """Whether the row that asks the same is answered, or to be asked now. Where only some rows are settled it may
        be neither: its turn comes later, and with it that of the rows that wait for it.
        """
        if self.only is None or self.only(owner) or owner in self._waiting_rows:
            return True
        return self._settled.of(owner) is not None

    async def _ask(self, request: Request, opened: OpenShard) -> None:
        """Settle a row by calls of its own."""
        row, settler, segment = request.row.index, self._context.settler, opened.segment
        waiting = self._waiting_rows[row]
        try:
            outcome = await settler.settle(request, segment, segment.replayed.account(row))
            # Its end is known: a halt that comes while it is made durable does not undo it.
            settler.sending.add(row)
            await opened.settle(outcome)
            waiting.set_result(outcome)
        except StorageError as error:
            settler.gate.halt(refused_storage(error))
            raise Halted from None
        except (Halted, asyncio.CancelledError):
            raise
        except Exception:
            settler.gate.halt(DEFECT)
            raise
        finally:
            settler.landed(row)
            if not waiting.done():
                waiting.cancel()
            del self._waiting_rows[row]

    async def _copy(self, request: Request, owner: int, opened: OpenShard) -> None:
        """A row whose identical request another row pays for."""
        if (waiting := self._waiting_rows.get(owner)) is not None:
            await asyncio.wait([waiting])
            if waiting.cancelled():
                raise Halted
            found: Outcome | None = waiting.result()
        else:
            found = self._settled.of(owner)
        assert found is not None, f"row {owner} owns a request and has no outcome"
        opened.note(self._reused(found, request))

    def _reused(self, owner: Outcome, request: Request) -> Outcome:
        return reused(owner, request, self._context.run_id, validator=self._context.validator)
