"""Held groups: row groups of parts that do not change, decoded twice at the most: then they stand in a scratch file."""

from __future__ import annotations

import mmap
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.tasks.output.outcome_lookup import GROUPS_HELD


class HeldGroups:
    """Row groups by file, a few of them in memory. Several threads may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[Path, int], pa.Table] = OrderedDict()
        self._seen: set[tuple[Path, int]] = set()
        self._spilled: dict[tuple[Path, int], pa.Table] = {}
        self._scratch: Any = None

    def group(self, path: Path, group: int) -> pa.Table:
        """A row group. Raises OSError, ArrowException."""
        with self._lock:
            name = (path, group)
            if (spilled := self._spilled.get(name)) is not None:
                return spilled
            if name not in self._held:
                with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as part:
                    table = part.read_row_group(group, use_threads=False)
                if name in self._seen:
                    self._spilled[name] = self._spill(table)
                    return self._spilled[name]
                self._seen.add(name)
                self._held[name] = table
                if len(self._held) > GROUPS_HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end(name)
            return self._held[name]

    def _spill(self, table: pa.Table) -> pa.Table:
        if self._scratch is None:
            self._scratch = tempfile.TemporaryFile(prefix="rowmill-")  # noqa: SIM115  closed with the rows
        start = -(-self._scratch.seek(0, 2) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._scratch.seek(start)
        with pa.ipc.new_file(self._scratch, table.schema) as writer:
            writer.write_table(table)
        self._scratch.flush()
        length = self._scratch.tell() - start
        held = mmap.mmap(self._scratch.fileno(), length, prot=mmap.PROT_READ, offset=start)
        return pa.ipc.open_file(pa.py_buffer(held)).read_all()

    def close(self) -> None:
        self._held.clear()
        self._spilled.clear()
        if self._scratch is not None:
            self._scratch.close()
