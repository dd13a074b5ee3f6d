"""Waiting line: the calls before the gate in their order, and those whose row rests before it may try again."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from dataclasses import dataclass
from itertools import count

from rowmill.tasks.gateway.admission.permit import Permit


@dataclass(slots=True, eq=False)
class Place:
    """A call that waits. `worst_usd` in 10⁻¹² USD; `turn` brings its permit. `divisible`: it may be made smaller."""

    row: int
    tokens: float
    worst_usd: int
    turn: asyncio.Future[Permit]
    divisible: bool = False


class WaitingLine:
    """First come, first served; who comes back from a rest goes first. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._line: deque[Place] = deque()
        self._resting: list[tuple[float, int, Place]] = []
        self._count = count()

    def __len__(self) -> int:
        return len(self._line)

    def join(self, place: Place) -> None:
        self._line.append(place)

    def rest(self, place: Place, until: float) -> None:
        heapq.heappush(self._resting, (until, next(self._count), place))

    def first(self, now: float) -> Place | None:
        """Whose turn it is; nobody who has given up waiting."""
        while self._resting and self._resting[0][0] <= now:
            self._line.appendleft(heapq.heappop(self._resting)[2])
        while self._line and self._line[0].turn.done():
            self._line.popleft()
        return self._line[0] if self._line else None

    def leave(self) -> None:
        """The first has been let in."""
        self._line.popleft()

    def next_from_rest(self) -> float | None:
        """When the next comes back from its rest; None where nobody rests."""
        while self._resting and self._resting[0][2].turn.done():
            heapq.heappop(self._resting)
        return self._resting[0][0] if self._resting else None

    def disperse(self) -> list[Place]:
        """Everybody leaves; who still waited."""
        waiting = [place for place in (*self._line, *(rests[2] for rests in self._resting)) if not place.turn.done()]
        self._line.clear()
        self._resting.clear()
        return waiting
