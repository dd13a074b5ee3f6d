"""Alarm: calls back once at the earliest moment that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rowmill.tasks.system.clock import Clock

# A timer may fire this much early, and would be set again and again without time going by.
SLEEP_LEAST_S = 1e-6


class Alarm:
    """Rings by a call of `ring`. Moments are monotonic seconds."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock, self._ring = clock, ring
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._at = float("inf")

    def set(self, at: float, now: float) -> None:
        """Ring then, unless it rings before."""
        if self._task is not None:
            if self._at <= at:
                return
            self._task.cancel()
        self._at = at
        self._task = self._loop.create_task(self._wake_up(max(SLEEP_LEAST_S, at - now)))

    async def _wake_up(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._task = None
        self._ring()

    def stop(self) -> None:
        """Ring no more, unless it is set again."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
