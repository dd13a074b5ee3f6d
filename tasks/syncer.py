"""Syncer: one thread that makes appended lines durable for everyone who waits."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

from schemas.errors import StorageError

# A pause between syncs, so that a fast run gathers many answers in each: a sync a row costs more than the row.
GATHER_S = 0.005
SYNC_MEANS = "fdatasync" if hasattr(os, "fdatasync") else "fsync"


class Syncer:
    """One thread that syncs for everyone: all that was written before a sync began is acknowledged by it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sync: Callable[[int], None] | None = None) -> None:
        self.loop = loop
        self._sync = sync or getattr(os, SYNC_MEANS)
        self._waiting: list[tuple[int, list[asyncio.Future[None]]]] = []
        self._wake = threading.Condition()
        self._closed = False
        self._busy = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rowmill-journal", daemon=True)
        self._thread.start()

    def sync(self, fd: int, waiting: list[asyncio.Future[None]]) -> None:
        """Make everything written to this file so far durable, then end these futures."""
        with self._wake:
            self._waiting.append((fd, waiting))
            self._wake.notify()

    def forget(self, fd: int) -> None:
        """Wait until no sync of any file runs, so that this one can be closed."""
        with self._wake:
            while self._busy or any(waiting == fd for waiting, _ in self._waiting):
                self._wake.wait()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if not self._waiting:
                    return
                batch, self._waiting, self._busy = self._waiting, [], True
            error = self._sync_all({fd for fd, _ in batch})
            self.loop.call_soon_threadsafe(_acknowledge, batch, error)
            self._closing.wait(GATHER_S)

    def _sync_all(self, fds: set[int]) -> OSError | None:
        for fd in fds:
            try:
                self._sync(fd)
            except OSError as error:
                return error
        return None

    def close(self) -> None:
        self._closing.set()
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join()


def _acknowledge(batch: list[tuple[int, list[asyncio.Future[None]]]], error: OSError | None) -> None:
    for _, waiting in batch:
        for done in waiting:
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(refused(Path("journal"), error))


def refused(path: Path, error: OSError) -> StorageError:
    """What a refused write or sync of the journal is to its user."""
    return StorageError(
        f"the journal cannot be written: {error.strerror}",
        where=str(path),
        mend="free disk space (or mend the disk) and run the same command again: what was settled stands",
    )
