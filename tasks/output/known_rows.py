"""Known rows: what parts that stand tell of the rows they were made of, so that these need not be read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.kept_values import KeepTypes
from rowmill.schemas.outcome import Status
from rowmill.schemas.row import Shard
from rowmill.tasks.input.kept_types import may_widen
from rowmill.tasks.input.key_index import id_keys
from rowmill.tasks.input.key_table import Keys, Numbers, key_array
from rowmill.tasks.input.survey import KnownRows
from rowmill.tasks.output.group_statistics import GroupStatistics
from rowmill.tasks.output.layout import Layout
from rowmill.tasks.output.part_footer import Footer
from rowmill.tasks.output.part_notes import line_bytes_in

NO_IDS = key_array(b""), np.empty(0, np.int64)


class StandingRows:
    """The rows of parts, by the shards they stand for."""

    def __init__(
        self,
        output: Layout,
        parts: Mapping[int, Footer],
        fingerprint: str,
        *,
        keep: Sequence[str],
        named: bool,
        lines: bool,
    ) -> None:
        """`fingerprint` is that of the job. `keep` are the columns whose types may be widened; `named`: a column tells
        each row's id; `lines`: what each row is known by is wanted.
        """
        self._output, self._parts, self._fingerprint = output, parts, fingerprint
        self._keep, self._named, self._lines = keep, named, lines

    def known(self, shard: Shard, types: KeepTypes | None) -> KnownRows | None:
        """What is known of a shard; None where its rows have to be read, also where its part cannot be: that is told
        where the part is needed.
        """
        footer = self._parts.get(shard.number)
        if footer is None or footer.job != self._fingerprint or not _is_same(footer.shard, shard):
            return None
        try:
            return self._told(shard, types)
        except (OSError, pa.ArrowException, ValueError):
            return None

    def _told(self, shard: Shard, types: KeepTypes | None) -> KnownRows | None:
        keep = self._keep if types is not None else ()
        with pq.ParquetFile(
            self._output.part_path(shard.number), pre_buffer=False, page_checksum_verification=True
        ) as part:
            lines = line_bytes_in(part.metadata.metadata, shard.rows) if self._lines else b""
            if lines is None or part.metadata.num_rows != shard.rows or not {*keep} <= {*part.schema_arrow.names}:
                return None
            wide = [name for name in keep if types is not None and types.kinds.get(name) != "text"]
            if types is not None and wide:
                table = part.read(columns=wide, use_threads=False)
                if any(may_widen(types, name, table.column(name)) for name in wide):
                    return None
            return KnownRows(*_ids(part), lines) if self._named else KnownRows(*NO_IDS, lines)


def _ids(part: pq.ParquetFile) -> tuple[Keys, Numbers]:
    """What the ids of a part's readable rows are known by, and the rows."""
    found = [_ids_of(part, group) for group in range(part.num_row_groups)]
    return np.concatenate([keys for keys, _ in found]), np.concatenate([rows for _, rows in found])


def _ids_of(part: pq.ParquetFile, group: int) -> tuple[Keys, Numbers]:
    told = GroupStatistics(part.metadata.row_group(group))
    rows = told.positions("row_index")
    if rows is not None and told.value("status") not in (None, Status.UNREADABLE.value):
        return id_keys(part.read_row_group(group, columns=["row_id"], use_threads=False).column(0)), rows
    table = part.read_row_group(group, columns=["row_id", "row_index", "status"], use_threads=False)
    read = table.filter(pc.not_equal(table.column("status"), Status.UNREADABLE.value))
    return id_keys(read.column("row_id")), read.column("row_index").to_numpy()


def _is_same(one: Shard, other: Shard) -> bool:
    """Whether two shards are the same rows at the same positions."""
    return (one.digest, one.first_row, one.rows) == (other.digest, other.first_row, other.rows)
