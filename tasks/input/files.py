"""Source: one file of the input, on disk or in a bucket, for whoever reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rowmill.schemas.errors import InputError
from rowmill.tasks.system.s3 import BucketFile

InputFile = Path | BucketFile
# A bucket answers each request after some hundredths of a second: fewer and larger ones.
BUFFER, BUCKET_BUFFER = 1 << 20, 8 << 20


def raw(file: InputFile) -> Any:
    """A seekable stream without a buffer. Raises OSError."""
    return open(file, "rb", buffering=0) if isinstance(file, Path) else file.open()


def buffer_of(file: InputFile) -> int:
    return BUFFER if isinstance(file, Path) else BUCKET_BUFFER


def parquet_source(file: InputFile) -> Any:
    """What pyarrow reads a Parquet file from. Raises OSError."""
    return file if isinstance(file, Path) else file.open()


def size_of(file: InputFile) -> int:
    """Bytes. Raises OSError."""
    return file.stat().st_size if isinstance(file, Path) else file.size


def state_of(file: InputFile) -> dict[str, Any]:
    """Path, size and time of change: the same only for a file that nobody touched. Raises OSError."""
    if isinstance(file, BucketFile):
        return {"path": file.url, "size": file.size, "mtime_ns": file.mtime_ns}
    told = file.stat()
    return {"path": str(file), "size": told.st_size, "mtime_ns": told.st_mtime_ns}


def input_state(files: Sequence[InputFile]) -> list[dict[str, Any]]:
    """Path, size and time of change of each input file. Raises InputError where one is gone."""
    found = []
    for file in files:
        try:
            found.append(state_of(file))
        except OSError as error:
            raise InputError(
                f"cannot be read: {error.strerror}", where=str(file), hint="it was there a moment ago: put it back"
            ) from None
    return found
