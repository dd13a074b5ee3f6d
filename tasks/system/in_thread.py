"""In a thread: work that waits for a disk, beside an event loop that goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], /, *args: P.args, **keywords: P.kwargs) -> T:
    """What `work` returns or raises. A cancellation is raised when the work has ended: nothing is written behind the
    back of whoever comes after.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **keywords))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            # Looked at, so that nobody is told of an error that has no taker.
            running.exception()
        raise
