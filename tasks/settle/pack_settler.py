"""Pack settler: rows that share calls. Each row has its own outcome, its own share of the bill, its own retries.

It takes a Settler's place. A row whose part of an answer is missing or wrong is asked again alone, as any other.
"""

from __future__ import annotations

import asyncio
import random

from rowmill.schemas.account import Account
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.request import Request
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action
from rowmill.tasks.journal.segment import Segment
from rowmill.tasks.settle.pack_call import Alone, Divided, PackCall, tell
from rowmill.tasks.settle.pack_former import PackFormer, Seat
from rowmill.tasks.settle.settler import CONTENT_KINDS, Settler

# An earlier attempt that ended so was refused for what the row holds: it does not share a call again.
OF_THE_ROW = CONTENT_KINDS | {
    kind.value
    for kind, policy in FAILURE_POLICIES.items()
    if policy.action in (Action.REFUSED, Action.DEAD_LETTER, Action.ROW_OR_RUN)
}


class PackSettler:
    """Settles requests by calls for several of them; those that cannot share one by a Settler."""

    def __init__(self, single: Settler, rows_per_call: int, *, rng: random.Random) -> None:
        self.gate, self.sending = single.gate, single.sending
        self._single, self._caller, self._budget = single, single.caller, single.budget
        self._model, self._clock, self._rng = single.caller.model, single.caller.clock, rng
        self._former = PackFormer(self._model, rows_per_call, self.gate, clock=self._clock, leave=self._leave)

    def landed(self, row: int) -> None:
        """This row's call has ended and what it cost is written down: its task may be cancelled from here on."""
        self._caller.landed((row,))

    async def settle(self, request: Request, segment: Segment, account: Account) -> Outcome:
        """The outcome of a request, as a Settler's."""
        if request.common is None or request.media or not OF_THE_ROW.isdisjoint(account.failures):
            return await self._single.settle(request, segment, account)
        seat = Seat(request, segment, account, asyncio.get_running_loop().create_future())
        self._former.join(seat)
        try:
            told: Outcome | Alone = await seat.told
        except asyncio.CancelledError:
            await _give_up(seat)
            raise
        if isinstance(told, Outcome):
            return told
        if told.failure is None or told.state is None:
            # What its share of the calls was is in its account; a row that was never sent has the one it came with.
            return await self._single.settle(request, segment, segment.replayed.accounts.get(seat.row, account))
        return await self._single.settle_after(told.state, segment, told.failure)

    def _leave(self, seats: tuple[Seat, ...], *, is_half: bool = False) -> None:
        """Begin the call of these rows; one by itself is a row like any other."""
        if len(seats) == 1:
            tell(seats[0], Alone())
            return
        call = PackCall(self._single, self._rng, seats, is_half=is_half)
        task = asyncio.get_running_loop().create_task(self._settle(call, seats))
        for seat in seats:
            seat.task, seat.mates = task, seats

    async def _settle(self, call: PackCall, seats: tuple[Seat, ...]) -> None:
        try:
            await call.settle()
        except Divided as divided:
            for half in divided.halves:
                self._leave(half, is_half=True)
        except asyncio.CancelledError:
            for seat in seats:
                seat.told.cancel()
            raise
        except Exception as error:
            # Halted, a journal that cannot be written, or a defect: every row ends by it.
            for seat in seats:
                if not seat.told.done():
                    seat.told.set_exception(error)


async def _give_up(seat: Seat) -> None:
    """A row's task is cancelled. Once all rows of its call are, so is the call, and what it may have cost is noted."""
    task = seat.task
    if task is not None and all(mate.told.done() for mate in seat.mates) and not task.done():
        task.cancel()
        await asyncio.wait([task])
