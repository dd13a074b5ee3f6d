"""Publish: a file whole or not at all. Write beside it, sync, rename, sync the folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rowmill.schemas.errors import StorageError

# Prompts and answers are their owner's; a narrower umask narrows these too.
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
_REFUSED = "see that you may read and write there, or name another place"
_HINTS = {
    errno.EMFILE: "raise the limit of open files (ulimit -n), or lower limits.concurrency",
    errno.ENFILE: "this machine has too many open files: close some programs",
    errno.ENOSPC: "free disk space",
    errno.EDQUOT: "free some of your disk quota",
    errno.EROFS: "name an output on a disk that can be written",
    errno.EACCES: "name an output that you may write to",
    errno.EPERM: "name an output that you may write to",
    errno.ENAMETOOLONG: "name an output with a shorter name",
}
_HINTS_OF_PLACES = {
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.EROFS: "name a place on a disk that can be written",
    errno.ELOOP: "a link there leads to itself",
    errno.EIO: "look after the disk",
    errno.ESTALE: "look after the file system that is mounted there",
    errno.EISDIR: "a folder stands where a file is looked for",
    errno.ENOTDIR: "a file stands where a folder is looked for",
}


def write_hint(error: OSError) -> str:
    """What to do about a write that was refused: by what refused it."""
    if error.errno == errno.ENOENT:
        return "there is no such folder, or none any more: make it; what a deleted output held is asked anew"
    what = _HINTS.get(error.errno or 0, "look after the disk")
    return f"{what}, and run the same command again: what was settled stands"


def hint_of(error: OSError) -> str | None:
    """What to do about a file that the machine refuses, wherever it was met; None where that may be our own fault."""
    code = error.errno or 0
    return _HINTS_OF_PLACES.get(code) or _HINTS.get(code)


def private_folder(path: Path) -> None:
    """A folder for its owner alone, where it is not there yet. Raises OSError."""
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)


@contextmanager
def published(path: Path, what: str) -> Iterator[IO[bytes]]:
    """A file to write to, which bears its name once it is durable. Raises StorageError, leaving nothing half there."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            # A disk that is read-only refuses that too, whether or not the file is there.
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise StorageError(
            f"{what} cannot be written: {error.strerror or error}",
            where=str(path),
            hint=write_hint(error),
        ) from None


def sync_folder(folder: Path) -> None:
    """Make a new or renamed file's name durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, durably. Raises StorageError."""
    with published(path, path.name) as file:
        file.write(content)
