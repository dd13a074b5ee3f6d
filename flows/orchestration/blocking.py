"""Blocking: a coroutine run to its end by code that does not await, also where an event loop runs already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

from rowmill.schemas.callers_frames import leave_out_ours
from rowmill.schemas.errors import RowmillError
from rowmill.tasks.system.event_loop import fastest_loop

T = TypeVar("T")


def run_blocking(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end and return its result.

    In a notebook a loop runs in this thread already: the work then has a loop of its own in another thread. An
    interrupt (KeyboardInterrupt) cancels it, and goes on its way when the work has written what it has.

    An error that a user can mend says where it was called, and nothing of the loops and threads between.
    """
    try:
        return _run_here(work) if _is_free() else _run_beside(work)
    except RowmillError as error:
        leave_out_ours(error)
        raise


def _is_free() -> bool:
    """Whether no loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


def _run_beside(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in another thread, and wait."""
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()

    async def begin() -> T:
        task = asyncio.current_task()
        assert task is not None
        begun.set_result((asyncio.get_running_loop(), task))
        return await work()

    with ThreadPoolExecutor(1, thread_name_prefix="rowmill") as pool:
        # Context variables tell which cell of a notebook an output belongs to.
        running = pool.submit(copy_context().run, _run_here, begin)
        try:
            return running.result()
        except KeyboardInterrupt:
            loop, task = begun.result()
            # A loop that is closed by now has nothing to cancel.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
            raise


def _run_here(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        return runner.run(work())
