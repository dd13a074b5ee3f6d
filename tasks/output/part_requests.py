"""Part requests: what the rows of a results part asked, by which they are known wherever their rows come to stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.outcome import Status
from rowmill.tasks.input.key_table import KEY_BYTES, Keys, Marks, Numbers, key_array
from rowmill.tasks.output.group_statistics import GroupStatistics


def request_keys(column: pa.ChunkedArray) -> bytes:
    """Request keys, none of them null: their bytes, KEY_BYTES each. Raises ValueError for one of another size."""
    found = b""
    for chunk in column.chunks:
        _, offsets, texts = chunk.buffers()
        ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        if len(chunk) and (np.diff(ends) != 2 * KEY_BYTES).any():
            raise ValueError(f"a request key is not {KEY_BYTES} bytes")
        found += bytes.fromhex(str(texts[ends[0] : ends[-1]].to_pybytes(), "ascii")) if len(chunk) else b""
    return found


def keys_apart(held: bytes) -> list[bytes]:
    """Keys that stand one after the other, each by itself."""
    return [held[at : at + KEY_BYTES] for at in range(0, len(held), KEY_BYTES)]


@dataclass(frozen=True, slots=True)
class Requests:
    """What rows of a part asked, those that asked nothing left out: which rows they are, counted from the part's first;
    their keys, positions in the input, whether they shared an answer, and whether one was accepted.
    """

    at: npt.NDArray[np.int64]
    keys: Keys
    rows: Numbers
    is_shared: Marks
    is_ok: Marks


def requests_in(path: Path) -> Iterator[Requests]:
    """What the rows of a part asked, a row group at a time. Raises OSError, ArrowException, ValueError."""
    first = 0
    with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as part:
        for group in range(part.num_row_groups):
            yield _requests(part, group, first)
            first += part.metadata.row_group(group).num_rows


def _requests(part: pq.ParquetFile, group: int, first: int) -> Requests:
    told = GroupStatistics(part.metadata.row_group(group))
    rows, status = told.positions("row_index"), told.value("status")
    # Columns of which the file tells that all rows have the same are not read.
    columns = {
        "request_key": True,
        "row_index": rows is None,
        "reused_from": not told.is_null("reused_from"),
        "status": status is None,
    }
    names = [name for name, is_read in columns.items() if is_read]
    table = part.read_row_group(group, columns=names, use_threads=False)
    at = np.arange(len(table))
    if table.column("request_key").null_count:
        at = np.flatnonzero(_marks(pc.is_valid(table.column("request_key"))))
        table = table.take(at)
    count = len(at)
    return Requests(
        at + first,
        key_array(request_keys(table.column("request_key"))),
        table.column("row_index").to_numpy() if rows is None else rows[at],
        _marks(pc.is_valid(table.column("reused_from"))) if columns["reused_from"] else np.zeros(count, bool),
        _marks(pc.equal(table.column("status"), Status.OK.value))
        if status is None
        else np.full(count, status == Status.OK.value),
    )


def _marks(column: pa.ChunkedArray) -> Marks:
    marks: Marks = column.to_numpy()
    return marks
