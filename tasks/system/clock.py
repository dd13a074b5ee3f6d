"""Clock: time and its passing, handed in so that tests need not wait."""

from __future__ import annotations

import asyncio
import time

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Seconds since some moment, with those in which the machine was suspended, where its system counts them (Linux): a
    lease runs out meanwhile, and whoever wakes must not take it for its own.
    """
    return time.clock_gettime(_ELAPSED)


class Clock:
    """The machine's clock. `now` is elapsed seconds, `wall` seconds since 1970 UTC."""

    def now(self) -> float:
        return elapsed()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
