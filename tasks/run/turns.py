"""Turns: shards that are open together take up their rows one after the other, in the order in which they began."""

from __future__ import annotations

import asyncio
from typing import Self


class Turn:
    """One shard's turn. It must end, whatever becomes of its shard: the next one waits for that."""

    def __init__(self, before: Turn | None) -> None:
        self._before, self._ended = before, asyncio.Event()

    async def come(self) -> None:
        """Wait until all before have ended, also those that one which was given up would have waited for."""
        while (before := self._before) is not None:
            await before._ended.wait()
            self._before = before._before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()


class Turns:
    """Gives turns in order. Of rows that ask the same the first one asks, however long its shard took to open."""

    def __init__(self) -> None:
        self._last: Turn | None = None

    def next(self) -> Turn:
        """The turn after all that were given before."""
        self._last = Turn(self._last)
        return self._last
