"""Typed columns: rows of Python values, one type a column, as a workbook or SQLite gives them → record batches.

Which type holds a column is known at its end: the rows wait in a file meanwhile.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from rowmill.tasks.input.arrow_values import values
from rowmill.tasks.input.csv_dialect import unique_names

BATCH_ROWS = 1_024
_EXACT_IN_DOUBLE = 2**53
_INT64 = range(-(2**63), 2**63)


class _Column:
    """What was met in one column."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()

    def meet(self, value: Any) -> None:
        if value is not None:
            self.kinds.add(_kind(value))

    @property
    def type(self) -> pa.DataType:
        kinds = self.kinds
        if kinds <= {"day"}:
            return pa.date32() if kinds else pa.string()
        if kinds <= {"day", "moment"}:
            return pa.timestamp("us")
        if kinds <= {"int", "float"}:
            return pa.float64() if "float" in kinds else pa.int64()
        return _TYPES[next(iter(kinds))] if len(kinds) == 1 else pa.string()

    @property
    def is_mixed(self) -> bool:
        return self.type == pa.string() and len(self.kinds) > 1


_TYPES = {
    "int": pa.int64(), "long": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string(),
    "bytes": pa.binary(), "time": pa.time64("us"), "moment": pa.timestamp("us"), "span": pa.duration("us"),
}  # fmt: skip


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) <= _EXACT_IN_DOUBLE else "long" if value in _INT64 else "text"
    if isinstance(value, datetime):
        is_day = value.tzinfo is None and value.time() == time()
        return "text" if value.tzinfo is not None else "day" if is_day else "moment"
    for type_, kind in ((float, "float"), (bytes, "bytes"), (date, "day"), (time, "time"), (timedelta, "span")):
        if isinstance(value, type_):
            return kind
    return "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as batches of one schema, and what people should be told of them."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    notes: Sequence[str] = ()


@contextmanager
def typed(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[Table]:
    """Rows under the names of a header. A row may be shorter, what is missing is null; or longer, then columns without
    a name are added.
    """
    columns = [_Column() for _ in header]
    with tempfile.TemporaryFile() as waiting:
        batch: list[Sequence[Any]] = []
        for row in rows:
            columns.extend(_Column() for _ in range(len(row) - len(columns)))
            for column, value in zip(columns, row, strict=False):
                column.meet(value)
            batch.append(row)
            if len(batch) == BATCH_ROWS:
                pickle.dump(batch, waiting)
                batch = []
        pickle.dump(batch, waiting)
        waiting.seek(0)
        names, renamed = unique_names([*header, *[""] * (len(columns) - len(header))])
        schema = pa.schema([(name, column.type) for name, column in zip(names, columns, strict=True)])
        mixed = [repr(name) for name, column in zip(names, columns, strict=True) if column.is_mixed]
        notes = [f"renamed: {', '.join(renamed)}"] if renamed else []
        notes += [f"read as text, since its values are of several types: {', '.join(mixed)}"] if mixed else []
        yield Table(schema, _batches(waiting, schema), notes)


def _batches(waiting: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            rows = pickle.load(waiting)
        except EOFError:
            return
        arrays = [
            pa.array([_as(row[at] if at < len(row) else None, field.type) for row in rows], field.type)
            for at, field in enumerate(schema)
        ]
        if rows:
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as(value: Any, type_: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_string(type_):
        return text_of(value)
    if pa.types.is_date(type_) and isinstance(value, datetime):
        return value.date()
    if pa.types.is_timestamp(type_) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    return value


def text_of(value: Any) -> str:
    """A value as a person would write it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) <= _EXACT_IN_DOUBLE else repr(value)
    if isinstance(value, datetime) and value.tzinfo is None and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return str(values(pa.array([value]))[0])
    return str(value.normalize()) if isinstance(value, Decimal) else str(value)
