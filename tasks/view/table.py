"""Table: the results of an output as rows by position, read from its parts as they are asked for."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.tasks.output.flat_columns import FlatColumn, flat_columns, told
from rowmill.tasks.output.python_values import python_rows
from rowmill.tasks.output.results_frame import readable

# Decoded row groups that are held: pages that follow each other lie in few of them.
GROUPS_HELD = 4
BATCH_ROWS = 65_536
# A part's name, size and time of change: another one where a part was written anew.
Signature = tuple[tuple[str, int, int], ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: a part, a row group of it, and the row there."""

    part: Path
    group: int
    row: int


class ResultsTable:
    """The parts of an output as they stand now. Positions count the rows of all parts, from 0."""

    def __init__(self, parts: Sequence[Path]) -> None:
        """Reads the parts' footers. Raises DamageError."""
        self.signature = signature_of(parts)
        self.parts = list(parts)
        self._groups: list[tuple[Path, int]] = []
        sizes: list[int] = []
        schemas: list[pa.Schema] = []
        for part in self.parts:
            with readable(part):
                metadata = pq.read_metadata(part)
                schemas.append(metadata.schema.to_arrow_schema())
            self._groups += [(part, group) for group in range(metadata.num_row_groups)]
            sizes += [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        # The first position of each group, and behind the last one their sum.
        self._firsts: list[int] = [0, *accumulate(sizes)]
        self.columns: dict[str, FlatColumn] = {column.name: column for column in flat_columns(schemas)}
        self.names: list[str] = list(dict.fromkeys(name for schema in schemas for name in schema.names))
        self._held: OrderedDict[tuple[Path, int], pa.Table] = OrderedDict()
        self._lock = Lock()

    @property
    def rows(self) -> int:
        return self._firsts[-1]

    def place(self, position: int) -> Place:
        at = bisect_right(self._firsts, position) - 1
        part, group = self._groups[at]
        return Place(part, group, position - self._firsts[at])

    def read(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at these positions, in their order, with the columns of the results. Raises DamageError."""
        places = [self.place(position) for position in positions]
        wanted: dict[tuple[Path, int], list[int]] = {}
        for place in places:
            wanted.setdefault((place.part, place.group), []).append(place.row)
        found: dict[Place, dict[str, Any]] = {}
        for (part, group), rows in wanted.items():
            values = self._group(part, group).take(pa.array(rows))
            found |= {
                Place(part, group, row): told(value) for row, value in zip(rows, python_rows(values), strict=True)
            }
        return [found[place] for place in places]

    def _group(self, part: Path, group: int) -> pa.Table:
        with self._lock:
            if (part, group) not in self._held:
                with readable(part), pq.ParquetFile(part, pre_buffer=False) as file:
                    self._held[part, group] = file.read_row_group(group)
                if len(self._held) > GROUPS_HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end((part, group))
            return self._held[part, group]

    def scan(self, columns: Sequence[FlatColumn], of: Callable[[int, pa.RecordBatch], T]) -> Iterator[T]:
        """Apply a function to the first position of each batch and the batch, which holds these columns' values.

        Parts are read beside each other; the results come in the rows' order. Raises DamageError.
        """
        names = sorted({column.path[0] for column in columns})
        starts: dict[Path, int] = {}
        for (part, _), first in zip(self._groups, self._firsts, strict=False):
            starts.setdefault(part, first)

        def one(part: Path) -> list[T]:
            found, position = [], starts.get(part, 0)
            with readable(part), pq.ParquetFile(part, pre_buffer=False) as file:
                standing = [name for name in names if name in file.schema_arrow.names] or ["row_id"]
                for batch in file.iter_batches(BATCH_ROWS, columns=standing, use_threads=False):
                    found.append(of(position, batch))
                    position += batch.num_rows
            return found

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for some in pool.map(one, self.parts):
                yield from some


def signature_of(parts: Sequence[Path]) -> Signature:
    """The parts as the file system tells of them: cheap to hold against an earlier look. Raises DamageError."""
    found = []
    for part in parts:
        with readable(part):
            told = part.stat()
        found.append((part.name, told.st_size, told.st_mtime_ns))
    return tuple(found)
