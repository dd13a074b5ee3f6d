"""Pack former: rows that wait for others to share a call with.

A pack leaves when it is full. One that is not waits for the rows that are in flight, which may join it with their next
votes or let new rows in; it leaves when a call could go at once and none is in flight, or no row has joined it for
seconds. While the limits hold calls back, waiting for more rows costs no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rowmill.schemas.account import Account
from rowmill.schemas.catalogue import Model
from rowmill.schemas.request import Common, Request
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.journal.segment import Segment
from rowmill.tasks.plan.pack_planner import common_bytes, own_bytes, rows_at_most
from rowmill.tasks.system.clock import Clock

LOOKS_S = 0.05
PATIENCE_S = 2.0


@dataclass(slots=True, eq=False)
class Seat:
    """A row that waits for its part of a call. `told` brings its outcome, or why it is asked alone."""

    request: Request
    segment: Segment
    account: Account
    told: asyncio.Future[Any]
    # The call that it is in, once it is on its way.
    task: asyncio.Task[None] | None = None
    mates: tuple[Seat, ...] = ()

    @property
    def row(self) -> int:
        return self.request.row.index


@dataclass(slots=True, eq=False)
class _Group:
    """Rows with the same common part, of one shard."""

    common: Common
    most: int
    room: int
    seats: list[Seat] = field(default_factory=list)
    bytes: int = 0
    joined_at: float = 0.0

    def add(self, seat: Seat, size: int, now: float) -> None:
        self.seats.append(seat)
        self.bytes += size
        self.joined_at = now


class PackFormer:
    """Gathers rows of one model. Rows of different shards never share a call: each shard has a journal of its own."""

    def __init__(
        self, model: Model, rows_per_call: int, gate: Gate, *, clock: Clock, leave: Callable[[tuple[Seat, ...]], None]
    ) -> None:
        """`leave` takes the rows of a pack that goes."""
        self._model, self._wanted, self._gate, self._clock, self._leave = model, rows_per_call, gate, clock, leave
        self._groups: dict[tuple[int, int], _Group] = {}
        self._waiting: asyncio.Task[None] | None = None

    def join(self, seat: Seat) -> None:
        """Take in a row whose request has a common part. Raises Halted once the run has ended."""
        if self._gate.termination is not None:
            raise Halted
        common = seat.request.common
        assert common is not None
        name = (id(seat.segment), id(common))
        size = own_bytes(seat.request)
        group = self._groups.get(name)
        if group is not None and group.bytes + size > group.room:
            self._go(name)
            group = None
        if group is None:
            most = rows_at_most(seat.request, self._model, self._wanted)
            group = self._groups[name] = _Group(common, most, self._model.context_window - common_bytes(common))
        group.add(seat, size, self._clock.now())
        if len(group.seats) >= group.most:
            self._go(name)
        elif self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_task(self._watch())

    def _go(self, name: tuple[int, int]) -> None:
        seats = tuple(seat for seat in self._groups.pop(name).seats if not seat.told.done())
        if seats:
            self._leave(seats)

    async def _watch(self) -> None:
        """Let packs that are not full go, the fullest first, where nothing else would use the slots."""
        while self._groups:
            await self._clock.sleep(LOOKS_S)
            if self._gate.termination is not None:
                self._disperse()
                break
            patience = PATIENCE_S if self._gate.in_flight else LOOKS_S
            last = self._clock.now() - patience
            ready = [name for name, group in self._groups.items() if group.joined_at <= last]
            ready.sort(key=lambda name: -len(self._groups[name].seats))
            for name in ready[: self._gate.free_slots]:
                self._go(name)
        self._waiting = None

    def _disperse(self) -> None:
        for group in self._groups.values():
            for seat in group.seats:
                if not seat.told.done():
                    seat.told.set_exception(Halted())
        self._groups.clear()
