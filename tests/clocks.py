"""A clock that moves only when somebody sleeps on it."""

from __future__ import annotations

import asyncio

from rowmill.tasks.system.clock import Clock

# What doubles with each level takes years, what a slow or traced machine does takes seconds: a bound between them.
A_MOMENT_S = 30


class FakeClock(Clock):
    """Time passes by sleeping. With several sleepers the earliest wakes first."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self.time = 1_000.0
        self._wall = wall - self.time

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self._wall + self.time

    async def sleep(self, seconds: float) -> None:
        until = self.time + seconds
        # Others that are ready run first, so that a wake-up at the same moment is seen in order.
        await asyncio.sleep(0)
        self.time = max(self.time, until)
