"""Row: one line of the input, readable or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

# Parts that a job may be split into.
PARTS_MOST = 1_000


class Row(msgspec.Struct, frozen=True):
    """A readable row. `index` is its position over the whole input, `line` its position in `file`, from 1.

    `unit` is what a position in such a file is called: a line, or a row.
    """

    index: int
    row_id: str
    columns: dict[str, Any]
    file: str
    line: int
    unit: str = "line"

    @property
    def place(self) -> str:
        """Where the row stands, for people."""
        return f"{self.file}, {self.unit} {self.line}"


class Unreadable(msgspec.Struct, frozen=True):
    """A line that is no row: kept as a results row of its own, with the reason and the line's beginning."""

    index: int
    row_id: str
    reason: str
    file: str
    line: int
    raw: str = ""
    unit: str = "line"

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"{self.file}, {self.unit} {self.line}"

    @property
    def message(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a shard's first row stands: a file, a byte offset in it (decompressed), rows before it in the file."""

    file: str
    offset: int
    line: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A contiguous range of rows: the unit of a Prefect task run and of a results part.

    `digest` is blake2b-128 (hex) of the rows' raw content: an unchanged shard is known by it without a call.
    """

    number: int
    first_row: int
    rows: int
    start: Cursor
    digest: str

    @property
    def last_row(self) -> int:
        """Index of the last row (inclusive)."""
        return self.first_row + self.rows - 1

    @property
    def part_name(self) -> str:
        return f"part-{self.number:06d}.parquet"


# What stands where no shard is meant: without rows, in no file.
NO_SHARD = Shard(0, 0, 0, Cursor("", 0, 0), "")
