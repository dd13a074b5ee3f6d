"""Clock: time and its passing, handed in so that tests need not wait."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """The machine's clock. `now` is monotonic seconds, `wall` seconds since 1970 UTC."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
