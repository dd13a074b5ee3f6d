"""Arrow: the rows of an IPC file (Feather) or an IPC stream, from any row on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from rowmill.schemas.row import Cursor
from rowmill.tasks.input.files import InputFile, Line, arrow_source, state_of
from rowmill.tasks.input.typed_lines import batch_size, columns_of, lines_of, unreadable
from rowmill.tasks.input.view_types import schema_without_views

MAGIC = b"ARROW1"


def arrow_lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    """The rows from a cursor on; where the file is damaged, a last one that tells it."""
    return lines_of(_batches(file, start.offset, None), start.offset, max_line_bytes)


def arrow_columns(file: InputFile, position: int, rows: int, *, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """So many rows of some columns, from a row on. What is not there, and what cannot be read, is not given."""
    return columns_of(_batches(file, position, names), rows)


def arrow_schema(file: InputFile) -> pa.Schema:
    """The columns that a file states. Raises InputError for what is no Arrow file."""
    try:
        with _opened(file) as reader:
            return schema_without_views(reader.schema)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise unreadable(file, "Arrow", error) from None


def arrow_rows(file: InputFile) -> int:
    """How many rows a file has. Raises InputError for what is no Arrow file."""
    try:
        return sum(_sizes(file, state_of(file)))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise unreadable(file, "Arrow", error) from None


@contextmanager
def _opened(file: InputFile) -> Iterator[Any]:
    """A reader of either kind: a file is read at any batch, a stream from its beginning. Raises OSError."""
    source = arrow_source(file)
    if isinstance(source, str):
        # Mapped: what is not compressed is never copied.
        source = pa.memory_map(source) if Path(source).stat().st_size else pa.BufferReader(b"")
    elif not isinstance(source, pa.NativeFile):
        source = pa.PythonFile(source, "r")
    with source:
        is_file = source.read(len(MAGIC)) == MAGIC
        source.seek(0)
        with pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source) as reader:
            yield reader


def _whole_batches(reader: Any, first: int) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from (reader.get_batch(number) for number in range(first, reader.num_record_batches))
        return
    for number, batch in enumerate(reader):
        if number >= first:
            yield batch


@lru_cache(maxsize=1_024)
def _sizes(file: InputFile, *_: Any) -> tuple[int, ...]:
    """Rows of each batch. A damaged file has those that can be read."""
    found: list[int] = []
    with _opened(file) as reader:
        try:
            found.extend(batch.num_rows for batch in _whole_batches(reader, 0))
        except (OSError, pa.ArrowException):
            return tuple(found)
    return tuple(found)


def _batches(file: InputFile, position: int, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    first, before = 0, 0
    for rows in _sizes(file, state_of(file)) if position else ():
        if before + rows > position:
            break
        first, before = first + 1, before + rows
    with _opened(file) as reader:
        for batch in _whole_batches(reader, first):
            # The null in place of a long value needs columns that may hold one.
            chosen = batch if names is None else batch.select([name for name in names if name in batch.schema.names])
            few = batch_size(batch.num_rows, batch.nbytes)
            for at in range(max(0, position - before), batch.num_rows, few):
                yield chosen.slice(at, few)
            before += batch.num_rows
