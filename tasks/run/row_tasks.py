"""Row tasks: the rows that are taken up now, each a task of its own, bounded in number and in the media they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Coroutine, Mapping
from functools import partial
from typing import Any

from rowmill.schemas.request import Request

# Rows taken up beyond those in flight: they wait for a retry or for the limiter while others are sent.
BACKLOG = 64
# Rows that wait for a retry beside them.
RETRIED_MOST = 4_096
# Characters of base64 that all rows taken up may hold together.
MEDIA_HELD_MOST = 256 * 2**20


class RowTasks:
    """Tasks by row, for so many calls at a time. Rows that will be tried again leave their place to others."""

    def __init__(self, concurrency: int, rows_per_call: int) -> None:
        self._window = asyncio.Semaphore((2 * concurrency + BACKLOG) * rows_per_call)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._retried: set[int] = set()
        self._media_held = 0

    def __contains__(self, row: int) -> bool:
        return row in self._tasks

    async def room_for(self, request: Request) -> None:
        """Wait for a place among the rows taken up, and until their media leave room for these."""
        await self._window.acquire()
        chars = request.media_chars
        while self._media_held and self._media_held + chars > MEDIA_HELD_MOST and self._tasks:
            await asyncio.wait(list(self._tasks.values()), return_when=asyncio.FIRST_COMPLETED)

    def start(self, request: Request, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do a row's work in a task, in the place that was waited for."""
        row = request.row.index
        task = self._tasks[row] = asyncio.create_task(work)
        self._media_held += request.media_chars
        task.add_done_callback(partial(self._ended, row, request.media_chars))
        return task

    def _ended(self, row: int, media_chars: int, _: asyncio.Task[None]) -> None:
        del self._tasks[row]
        self._media_held -= media_chars
        if row in self._retried:
            self._retried.discard(row)
        else:
            self._window.release()

    def on_retry(self, row: int) -> None:
        """A row waits for its retry: another may be taken up in its place."""
        if row in self._tasks and row not in self._retried and len(self._retried) < RETRIED_MOST:
            self._retried.add(row)
            self._window.release()

    def cancel(self, *, besides: Container[int] = ()) -> None:
        """End every row, but for some rows' (those in flight)."""
        cancel(self._tasks, besides=besides)


def cancel(tasks: Mapping[int, asyncio.Task[None]], *, besides: Container[int] = ()) -> None:
    """End the tasks of rows, but for some rows' (those in flight)."""
    for row, task in tasks.items():
        if row not in besides:
            task.cancel()
