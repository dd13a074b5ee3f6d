"""Typed lines: record batches of Arrow → rows, as Parquet and Arrow files give them."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as of

from rowmill.schemas.errors import InputError
from rowmill.tasks.input.arrow_values import batch_rows
from rowmill.tasks.input.files import InputFile, Line, name_of
from rowmill.tasks.input.view_types import batch_without_views

BATCH_ROWS = 1_024
# Rows are taken fewer at a time where they are long.
BATCH_BYTES = 64 << 20


def unreadable(file: InputFile, kind: str, error: Exception) -> InputError:
    """What is wrong with a file that cannot be opened as one of Arrow's kinds."""
    hint = f"write it again: it is cut, or no {kind} file"
    if isinstance(error, pa.ArrowNotImplementedError):
        hint = "write it again with that column cast, as 128-bit integers to text"
    return InputError(f"no readable {kind} file: {error}", where=name_of(file), hint=hint)


def batch_size(rows: int, size: int) -> int:
    """How many of so many rows of so many bytes are taken at a time."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(size, 1)))


def lines_of(batches: Iterator[pa.RecordBatch], position: int, max_line_bytes: int) -> Iterator[Line]:
    """The rows of batches, the first of which is the file's row number `position`; where the rest cannot be read, a
    last line that tells it. A row with a value of more than `max_line_bytes` is none.
    """
    try:
        for batch in batches:
            batch, too_long = _without_long(batch_without_views(batch), max_line_bytes)
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
            yield batch_without_views(batch.slice(0, rows))
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
    if _is_bytes(one.type):
        return pc.binary_length(one)[0].as_py() or 0
    return int(one.nbytes)


def _is_bytes(type_: pa.DataType) -> bool:
    """Whether a value is bytes in one piece, with 32 or 64 bits of offset."""
    return any(is_kind(type_) for is_kind in (of.is_string, of.is_binary, of.is_large_string, of.is_large_binary))


def _digest(one: pa.Array) -> bytes:
    """What tells this value from others, wherever it stands, without a copy of it: a scalar would be one."""
    digest = blake2b(digest_size=16)
    if _is_bytes(one.type):
        digest.update(_bytes(one))
    else:
        _feed(digest, one)
    return digest.digest()


def _feed(digest: blake2b, values: pa.Array) -> None:
    """Digest an array's values: which are null, how long each is, and what they hold."""
    kind = values.type
    digest.update(f"{kind} {len(values)} {values.null_count};".encode())
    if values.null_count:
        digest.update(np.packbits(values.is_null().to_numpy(zero_copy_only=False)).data)
        values = values.drop_null()
    if of.is_dictionary(kind):
        _feed(digest, values.dictionary_decode())
    elif of.is_struct(kind):
        for child in values.flatten():
            _feed(digest, child)
    elif of.is_list(kind) or of.is_large_list(kind) or of.is_map(kind):
        ends = values.offsets.to_numpy()
        digest.update(np.diff(ends).data)
        for child in (values.keys, values.items) if of.is_map(kind) else (values.values,):
            _feed(digest, child.slice(ends[0], ends[-1] - ends[0]))
    elif _is_bytes(kind):
        _feed(digest, pc.binary_length(values))
        digest.update(_bytes(values))
    elif (width := _width(kind)) is not None:
        digest.update(memoryview(values.buffers()[1])[values.offset * width : (values.offset + len(values)) * width])
    else:
        digest.update(repr(values.to_pylist()).encode("utf-8", "replace"))


def _width(kind: pa.DataType) -> int | None:
    """Bytes of each value of a type that has whole ones in one buffer."""
    if not of.is_primitive(kind) and not of.is_decimal(kind) and not of.is_fixed_size_binary(kind):
        return None
    return kind.bit_width // 8 if kind.bit_width % 8 == 0 else None


def _bytes(values: pa.Array) -> memoryview:
    """The bytes of all values one after the other, where they stand."""
    _, offsets, content = values.buffers()
    is_large = of.is_large_string(values.type) or of.is_large_binary(values.type)
    starts = memoryview(offsets).cast("B").cast("q" if is_large else "i")
    return memoryview(content or b"")[starts[values.offset] : starts[values.offset + len(values)]]
