"""Publish: a file whole or not at all. Write beside it, sync, rename, sync the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rowmill.schemas.errors import StorageError


@contextmanager
def published(path: Path, what: str) -> Iterator[IO[bytes]]:
    """A file to write to, which bears its name once it is durable. Raises StorageError, leaving nothing half there."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"{what} cannot be written: {error.strerror or error}",
            where=str(path),
            hint="free disk space and run the same command again: what was settled stands",
        ) from None


def sync_folder(folder: Path) -> None:
    """Make a new or renamed file's name durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
