"""Folder lock: an output is never held by two at once; the kernel knows who holds it, a file left behind does not."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from rowmill.schemas.errors import OutputError, StorageError
from rowmill.tasks.output.layout import LOCK
from rowmill.tasks.system.durable import PRIVATE_FILE, write_hint
from rowmill.tasks.system.process import in_use, this_process

# Who looks whether a run lives (`status`, a view) holds a lock for an instant: no reason to refuse a run.
LOOKS, LOOK_S = 10, 0.05


class FolderLock:
    """Locks of the kernel's, on the folder and on a file in it: they end with the process, and a file left behind means
    nothing. That of the folder holds though somebody deletes the file; some network file systems lock no folders.
    """

    def __init__(self, root: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        """Takes both. Raises OSError where they cannot be opened, OutputError where another holds the folder,
        StorageError.
        """
        self._file = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            self._folder = os.open(root, os.O_RDONLY)
        except OSError:
            os.close(self._file)
            raise
        try:
            if not (_lock_soon(self._folder, sleep) and _lock_soon(self._file, sleep)):
                owner = os.read(self._file, 200).decode("utf-8", "replace").strip()
                raise in_use(str(root), owner)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, this_process().encode(), 0)
        except OSError as error:
            self.close()
            raise StorageError(
                f"cannot be written: {error.strerror}", where=str(root), hint=write_hint(error)
            ) from None
        except OutputError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._file)
        os.close(self._folder)


class Locked(Enum):
    """What became of the wish to lock a file."""

    BY_US = "by us"
    BY_ANOTHER = "by another"
    NOT_POSSIBLE = "not possible"


def _lock(fd: int, kind: int = fcntl.LOCK_EX) -> Locked:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return Locked.BY_ANOTHER
    except OSError:
        return Locked.NOT_POSSIBLE
    return Locked.BY_US


def _lock_soon(fd: int, sleep: Callable[[float], None]) -> bool:
    """Whether no other process holds the file, or none does for long."""
    for look in range(LOOKS):
        if _lock(fd) is not Locked.BY_ANOTHER:
            return True
        if look < LOOKS - 1:
            sleep(LOOK_S)
    return False


def is_locked(root: Path) -> bool:
    """Whether a run holds this output now; the kernel knows, a file left behind does not."""
    for path in (root, root / LOCK):
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            if _lock(fd, fcntl.LOCK_SH) is Locked.BY_ANOTHER:
                return True
        finally:
            os.close(fd)
    return False


def refuse_in_use(root: Path) -> None:
    """Raises OutputError where a run holds this output now."""
    if is_locked(root):
        raise in_use(str(root), (root / LOCK).read_text(encoding="utf-8", errors="replace").strip())
