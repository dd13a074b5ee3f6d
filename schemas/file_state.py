"""File state: by what an input file is known again: the same only for one that nobody touched."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field


class CsvReading(Struct, frozen=True):
    """How the bytes of a delimited file are read: what parts its fields, its encoding, its columns in order."""

    separator: str = ""
    encoding: str = ""
    quote: str = ""
    escape: str = ""
    columns: list[str] = field(default_factory=list)


class FileState(Struct, frozen=True):
    """Path or address, size in bytes, time of change in ns since 1970; how it is read where its bytes do not say it."""

    path: str = ""
    size: int = 0
    mtime_ns: int = 0
    read_as: CsvReading | UnsetType = UNSET
