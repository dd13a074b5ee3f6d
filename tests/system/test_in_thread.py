"""Work in a thread ends before whoever asked for it goes on, cancelled or not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rowmill.tasks.system.in_thread import in_thread


async def test_the_loop_goes_on_meanwhile():
    """The work has a thread of its own; what it returns or raises comes back."""
    assert await in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_waits_for_the_end_of_the_work(fails):
    """Cancelled twice, the work is done to its end before anybody goes on; the cancellation is told, not its error."""
    begun, go_on, done = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        go_on.wait()
        done.append(True)
        if fails:
            raise OSError

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]
