"""Files: those of an input, on disk or in a bucket; what kind each is, and what a reader makes of it line by line."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from rowmill.schemas.errors import InputError
from rowmill.tasks.system.s3 import SCHEME, BucketFile, bucket_files

InputFile = Path | BucketFile
# A bucket answers each request after some hundredths of a second: fewer and larger ones.
BUFFER, BUCKET_BUFFER = 1 << 20, 8 << 20
JSONL_ENDINGS = (".jsonl", ".ndjson", ".json")
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
PARQUET_ENDINGS = (".parquet", ".pq")
# Characters of an unreadable line that its results row shows.
RAW_SHOWN = 2_000


class Line(msgspec.Struct, frozen=True):
    """One line or Parquet row before it is judged. `offset` is its cursor; `raw` its exact bytes for the digest."""

    offset: int
    number: int
    raw: bytes
    columns: dict[str, Any] | None = None
    problem: str | None = None


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
    stat = file.stat()
    return {"path": str(file), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


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


def input_files(pattern: str) -> list[InputFile]:
    """The files of an input, in sorted order. Raises InputError where there is none or one is of no known kind."""
    if pattern.startswith(SCHEME):
        return _in_bucket(pattern)
    path = Path(pattern)
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file() and kind_of(p) and not _hidden(p, path)]
        if not found:
            raise InputError(
                "the folder holds no .jsonl, .jsonl.gz, .jsonl.zst or .parquet file",
                where=pattern,
                hint="name another folder, or a file",
            )
        return list(found)
    files: list[InputFile] = []
    if path.is_file():
        files = [path]
    elif glob.has_magic(pattern):
        files = [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]
        if not files:
            raise InputError("no file matches this pattern", where=pattern, hint="`input` is relative to the job file")
    else:
        raise InputError("no such file or folder", where=pattern, hint="`input` is relative to the job file")
    for file in files:
        if kind_of(file) is None:
            raise InputError(
                f"unknown kind of file {file.suffix or '(no ending)'}",
                where=str(file),
                hint="rowmill reads .jsonl, .ndjson, .json (one object a line), each also .gz or .zst, and .parquet",
            )
        _readable(file)
    return files


def _in_bucket(pattern: str) -> list[InputFile]:
    found: list[InputFile] = [file for file in bucket_files(pattern) if kind_of(file)]
    if not found:
        raise InputError(
            "no .jsonl, .jsonl.gz, .jsonl.zst or .parquet object is there",
            where=pattern,
            hint="name another object or prefix",
        )
    return found


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _readable(file: InputFile) -> None:
    try:
        raw(file).close()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=str(file), hint="make it readable for this user"
        ) from None


def kind_of(path: InputFile) -> Literal["jsonl", "parquet"] | None:
    """Kind of an input file by its ending."""
    name = path.name.lower()
    if name.endswith(PARQUET_ENDINGS):
        return "parquet"
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return "jsonl" if name.endswith(JSONL_ENDINGS) else None
