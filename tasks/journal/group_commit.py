"""Syncer: one thread that makes appended lines durable for everyone who waits."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rowmill.schemas.errors import StorageError
from rowmill.tasks.system.durable import write_hint

# A pause between syncs, so that a fast run gathers many answers in each: a sync a row costs more than the row.
GATHER_S = 0.005
# From one put into a bucket to the next, each of which is an object.
GATHER_AWAY_S = 0.05
SYNC_MEANS = "fdatasync" if hasattr(os, "fdatasync") else "fsync"


Keep = Callable[[Path, int], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who waits until a file is durable up to `end`."""

    path: Path
    fd: int
    end: int
    futures: list[asyncio.Future[None]]


class Syncer:
    """One thread that syncs for everyone: all that was written before a sync began is acknowledged by it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sync: Callable[[int], None] | None = None, keep: Keep | None = None
    ) -> None:
        """`keep` makes a file durable elsewhere too, up to so many bytes; raises OSError."""
        self.loop, self._keep = loop, keep
        self._sync = sync or getattr(os, SYNC_MEANS)
        self._waiting: list[Waiting] = []
        self._wake = threading.Condition()
        self._closed = False
        self._busy = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rowmill-journal", daemon=True)
        self._thread.start()

    @property
    def keeps_elsewhere(self) -> bool:
        """Whether what is synced outlives this machine."""
        return self._keep is not None

    def sync(self, path: Path, fd: int, end: int, *, waiting: list[asyncio.Future[None]]) -> None:
        """Make everything written to this file so far durable, which is up to `end`, then end these futures."""
        with self._wake:
            self._waiting.append(Waiting(path, fd, end, waiting))
            self._wake.notify()

    def forget(self, fd: int) -> None:
        """Wait until no sync of any file runs, so that this one can be closed."""
        with self._wake:
            while self._busy or any(one.fd == fd for one in self._waiting):
                self._wake.wait()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if not self._waiting:
                    return
                batch, self._waiting, self._busy = self._waiting, [], True
            began = time.monotonic()
            error = self._sync_all(batch)
            self.loop.call_soon_threadsafe(_acknowledge, batch, error)
            with self._wake:
                # Whoever closes a file does not wait for the pause.
                self._busy = False
                self._wake.notify_all()
            self._closing.wait(pause_s(time.monotonic() - began, away=self._keep is not None))

    def _sync_all(self, batch: list[Waiting]) -> OSError | None:
        # Of each file the last place that was written, which is the farthest.
        for one in {one.fd: one for one in batch}.values():
            try:
                self._sync(one.fd)
                _refuse_deleted(one.fd)
                if self._keep is not None:
                    self._keep(one.path, one.end)
            except OSError as error:
                return error
        return None

    def close(self) -> None:
        self._closing.set()
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join()


def pause_s(took_s: float, *, away: bool) -> float:
    """Seconds to gather lines after a sync that took so long: what an object costs bounds their number a second, so the
    time that a put takes is part of the pause.
    """
    return max(GATHER_S, GATHER_AWAY_S - took_s) if away else GATHER_S


def _refuse_deleted(fd: int) -> None:
    """Raises OSError for a file that has no name any more: what is written there is gone when the run ends."""
    if not os.fstat(fd).st_nlink:
        raise OSError(errno.ENOENT, "it was deleted while the run wrote it")


def _acknowledge(batch: list[Waiting], error: OSError | None) -> None:
    for one in batch:
        for done in one.futures:
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
        hint=write_hint(error),
    )
