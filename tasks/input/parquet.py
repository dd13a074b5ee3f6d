"""Parquet: a file's rows from any row on, and some of its columns as Arrow, unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.row import Cursor
from rowmill.tasks.input.files import InputFile, Line, arrow_source, buffer_of, state_of
from rowmill.tasks.input.typed_lines import BATCH_ROWS, batch_size, columns_of, lines_of, unreadable
from rowmill.tasks.input.view_types import schema_without_views


def parquet_lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    """The rows from a cursor on; where the file is damaged, a last one that tells it."""
    return lines_of(_batches(file, start.offset, None), start.offset, max_line_bytes)


def parquet_columns(file: InputFile, position: int, rows: int, *, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """So many rows of some columns, from a row on. A column that the file lacks, and what cannot be read, is not there:
    fewer rows may come than were asked for.
    """
    return columns_of(_batches(file, position, names), rows)


def parquet_schema(file: InputFile) -> pa.Schema:
    """The columns that a file states, as Arrow types. Raises InputError for what is no Parquet file."""
    try:
        with _opened(file) as parquet:
            return schema_without_views(parquet.schema_arrow)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise unreadable(file, "Parquet", error) from None


def parquet_rows(file: InputFile) -> int:
    """How many rows a file states. Raises InputError for what is no Parquet file."""
    try:
        return int(pq.read_metadata(arrow_source(file)).num_rows)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise unreadable(file, "Parquet", error) from None


def _opened(file: InputFile) -> pq.ParquetFile:
    return _with_unit(file, _int96_unit(file, state_of(file)))


def _with_unit(file: InputFile, unit: str | None) -> pq.ParquetFile:
    return pq.ParquetFile(
        arrow_source(file), pre_buffer=False, buffer_size=buffer_of(file.place), coerce_int96_timestamp_unit=unit
    )


@lru_cache(maxsize=1_024)
def _int96_unit(file: InputFile, *_: Any) -> str | None:
    """In which unit the INT96 timestamps of a file are read; None where it has none.

    Nanoseconds, as they were written, unless a year lies beyond what nanoseconds reach (1677 to 2262), of which pyarrow
    would make another year: then microseconds, which is what Spark knows.
    """
    with _with_unit(file, "ns") as fine, _with_unit(file, "us") as coarse:
        leaves = [fine.schema.column(at) for at in range(len(fine.schema))]
        names = sorted({leaf.path for leaf in leaves if leaf.physical_type == "INT96"})
        if not names:
            return None
        batches = (parquet.iter_batches(BATCH_ROWS, columns=names, use_threads=False) for parquet in (fine, coarse))
        try:
            exact = all(one.cast(other.schema, safe=False).equals(other) for one, other in zip(*batches, strict=True))
        except pa.ArrowNotImplementedError:
            # Nested in a way that Arrow cannot compare.
            exact = False
    return "ns" if exact else "us"


def _batches(file: InputFile, position: int, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    with _opened(file) as parquet:
        first, groups = _groups_from(parquet, position)
        for group in groups:
            about = parquet.metadata.row_group(group)
            few = batch_size(about.num_rows, about.total_byte_size)
            for batch in parquet.iter_batches(few, row_groups=[group], columns=names, use_threads=False):
                if first + batch.num_rows > position:
                    yield batch.slice(max(0, position - first))
                first += batch.num_rows


def _groups_from(parquet: pq.ParquetFile, position: int) -> tuple[int, list[int]]:
    """Row groups from the one that holds `position` on, and the first row of that one."""
    before = 0
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if before + rows > position:
            return before, list(range(group, parquet.num_row_groups))
        before += rows
    return before, []
