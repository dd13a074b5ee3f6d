"""Files: those of an input, on disk or in a bucket, each with its kind; and what a reader makes of one line by line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import msgspec

from rowmill.schemas.file_state import FileState
from rowmill.schemas.input_sections import Csv
from rowmill.schemas.row import Cursor
from rowmill.tasks.system.buckets import BucketFile

Place = Path | BucketFile
# A bucket answers each request after some hundredths of a second: fewer and larger ones.
BUFFER, BUCKET_BUFFER = 1 << 20, 8 << 20
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
# Characters of an unreadable line that its results row shows.
RAW_SHOWN = 2_000
# A CSV file of which the job says nothing.
AS_SEEN = Csv.model_validate({})


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file, its format by its name in the registry, and the columns that its folders name (`year=2026/`).

    `csv` is what the job says of a CSV file; the rest is seen in its beginning. Of a file that several jobs divide its
    rows are read from `offset` on, before which there are `skipped`, up to the `end`th of the file. A copy of a file is
    `known_as` that one is.
    """

    place: Place
    format: str
    partition: tuple[tuple[str, str | None], ...] = ()
    csv: Csv = AS_SEEN
    offset: int = 0
    skipped: int = 0
    end: int | None = None
    known_as: str | None = None

    def __str__(self) -> str:
        return str(self.place)

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def suffix(self) -> str:
        return self.place.suffix

    @property
    def start(self) -> Cursor:
        """Where its first row stands."""
        return Cursor(name_of(self), self.offset, self.skipped)

    @property
    def compression(self) -> str | None:
        """By which codec the file is compressed as a whole."""
        return COMPRESSED.get(self.suffix.lower())


class Line(msgspec.Struct, frozen=True):
    """One line or row of a file before it is judged. `offset` is its cursor; `raw` its exact bytes for the digest.

    `context` is what else its columns depend on: the header of a CSV file, the folders of a partition. `unit` is what
    people call it.
    """

    offset: int
    number: int
    raw: bytes
    columns: dict[str, Any] | None = None
    problem: str | None = None
    context: bytes = b""
    unit: str = "line"


def name_of(file: InputFile) -> str:
    """The file's name as it is written down and compared: text, a file URI where the name is none in UTF-8."""
    name = str(file) if file.known_as is None else file.known_as
    try:
        name.encode()
    except UnicodeEncodeError:
        return f"file://{quote_from_bytes(os.fsencode(name))}"
    return name


def raw(place: Place) -> Any:
    """A seekable stream without a buffer. Raises OSError."""
    return open(place, "rb", buffering=0) if isinstance(place, Path) else place.open()


def buffer_of(place: Place) -> int:
    return BUFFER if isinstance(place, Path) else BUCKET_BUFFER


def arrow_source(file: InputFile) -> Any:
    """What pyarrow reads a file from. Raises OSError."""
    if isinstance(file.place, Path):
        # A name that is no UTF-8 is none to pyarrow.
        return str(file) if name_of(file) == str(file) else raw(file.place)
    return file.place.open()


def size_of(file: InputFile) -> int:
    """Bytes. Raises OSError."""
    return file.place.stat().st_size if isinstance(file.place, Path) else file.place.size


def state_of(file: InputFile) -> FileState:
    """Path, size and time of change: the same only for a file that nobody touched. Raises OSError."""
    if isinstance(file.place, BucketFile):
        return FileState(file.place.url, file.place.size, file.place.mtime_ns)
    stat = file.place.stat()
    return FileState(name_of(file), stat.st_size, stat.st_mtime_ns)
