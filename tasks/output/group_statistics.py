"""Group statistics: what a Parquet file tells of a row group's columns, so that they need not be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rowmill.tasks.input.key_table import Numbers


class GroupStatistics:
    """The statistics of one row group. A file without them tells nothing."""

    def __init__(self, group: pq.RowGroupMetaData) -> None:
        self._rows = group.num_rows
        columns = [group.column(at) for at in range(group.num_columns)]
        self._columns = {column.path_in_schema: column for column in columns}

    def positions(self, name: str) -> Numbers | None:
        """The values of a column of positions, which ascend, where they follow each other without a gap."""
        told = self._of(name)
        if told is None or not told.has_min_max or told.null_count or told.max - told.min + 1 != self._rows:
            return None
        return np.arange(told.min, told.max + 1, dtype=np.int64)

    def value(self, name: str) -> str | None:
        """The text that every row has in a column; None where they differ, or may."""
        told = self._of(name)
        if told is None or not told.has_min_max or told.null_count or told.min != told.max:
            return None
        value: str = told.min
        return value

    def is_null(self, name: str) -> bool:
        """Whether no row has a value in a column."""
        told = self._of(name)
        return told is not None and told.null_count == self._rows

    def _of(self, name: str) -> Any:
        column = self._columns.get(name)
        told = None if column is None or not column.is_stats_set else column.statistics
        return told if told is not None and told.has_null_count else None
