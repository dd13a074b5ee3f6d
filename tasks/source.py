"""Source: one file of the input, on disk or in a bucket, for whoever reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.bucket import BucketFile

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
