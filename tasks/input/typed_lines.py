"""Typed lines: record batches of Arrow → rows, as Parquet and Arrow files give them."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as of

from rowmill.tasks.input.arrow_values import batch_rows
from rowmill.tasks.input.files import Line

BATCH_ROWS = 1_024
# Rows are taken fewer at a time where they are long.
BATCH_BYTES = 64 << 20


def batch_size(rows: int, size: int) -> int:
    """How many of so many rows of so many bytes are taken at a time."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(size, 1)))


def lines_of(batches: Iterator[pa.RecordBatch], position: int, max_line_bytes: int) -> Iterator[Line]:
    """The rows of batches, the first of which is the file's row number `position`; where the rest cannot be read, a
    last line that tells it. A row with a value of more than `max_line_bytes` is none.
    """
    try:
        for batch in batches:
            batch, too_long = _without_long(batch, max_line_bytes)
            for at, (columns, raw) in enumerate(zip(*batch_rows(batch), strict=True)):
                if (told := too_long.get(at)) is None:
                    yield Line(position, position + 1, raw, columns=columns, unit="row")
                else:
                    name, digest = told
                    problem = f"the column {name!r} is longer than {max_line_bytes:,} bytes (limits.max_line_bytes)"
                    yield Line(position, position + 1, raw + digest, problem=problem, unit="row")
                position += 1
    except (OSError, pa.ArrowException, ValueError) as error:
        problem = f"the rest of the file cannot be read: {error}"
        yield Line(position, position + 1, b"", problem=problem, unit="row")


def columns_of(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """So many rows of batches. What is not there, and what cannot be read, is not given: fewer rows may come."""
    try:
        for batch in batches:
            if rows <= 0:
                return
            yield batch.slice(0, rows)
            rows -= batch.num_rows
    except (OSError, pa.ArrowException, ValueError):
        # What is told of the damage stands in the row where it was met.
        return


def _without_long(batch: pa.RecordBatch, most: int) -> tuple[pa.RecordBatch, dict[int, tuple[str, bytes]]]:
    """The batch with null in place of longer values, and, for each row of these, the column and a digest of it."""
    found: dict[int, tuple[str, bytes]] = {}
    columns = list(batch.columns)
    for place, column in enumerate(batch.columns):
        if not _varies(column.type) or column.nbytes <= most:
            continue
        long = [at for at in range(len(column)) if _size(column.slice(at, 1)) > most]
        if not long:
            continue
        for at in long:
            found[at] = batch.schema.names[place], _digest(column.slice(at, 1))
        indices = pa.array([None if at in found else at for at in range(len(column))], pa.int64())
        columns[place] = column.take(indices)
    if not found:
        return batch, found
    fields = [field.with_nullable(True) for field in batch.schema]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields)), found


def _varies(type_: pa.DataType) -> bool:
    """Whether values of a type may be of any length."""
    try:
        return not type_.bit_width
    except ValueError:
        return True


def _size(one: pa.Array) -> int:
    """Bytes of an array's only value."""
    if of.is_dictionary(one.type):
        one = one.dictionary_decode()
    if of.is_string(one.type) or of.is_large_string(one.type) or of.is_binary(one.type) or of.is_large_binary(one.type):
        return pc.binary_length(one)[0].as_py() or 0
    return int(one.nbytes)


def _digest(one: pa.Array) -> bytes:
    """What tells this value from others, without a copy of it where that can be."""
    value = one[0]
    content = value.as_buffer() if hasattr(value, "as_buffer") else repr(value.as_py()).encode("utf-8", "replace")
    return blake2b(content, digest_size=16).digest()
