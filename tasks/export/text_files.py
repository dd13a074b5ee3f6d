"""Text files: CSV for spreadsheets, and JSON lines."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from rowmill.tasks.export.rows import Table
from rowmill.tasks.output.flat_columns import plain_value
from rowmill.tasks.system.durable import published

# A spreadsheet runs a cell that begins so as a formula, in a CSV too. A plain number is none. A cell that has the
# apostrophe already gets another one, so that what people hand back loses only ours.
FORMULA = r"^'*[=+\-@\t\r]"
NUMBER = r"^[+-]?[0-9]+([.,][0-9]+)*$"
AS_TEXT = "'"
# Without it Excel reads UTF-8 as the machine's own code page; plain ASCII is the same in both.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def write_csv(path: Path, table: Table) -> int:
    """CSV in UTF-8: text in quotes, null as an empty cell, what would be a formula behind an apostrophe.

    A byte order mark comes first where anything is not ASCII. Returns how many rows. Raises StorageError.
    """
    count = 0
    schema = pa.schema([(_guarded_name(field.name), _cell_type(field.type)) for field in table.schema])
    with published(path, "the export") as file, tempfile.TemporaryFile(dir=path.parent) as body:
        seen = _Ascii(body)
        with pa_csv.CSVWriter(pa.PythonFile(seen, mode="w"), schema) as writer:
            for batch in table.batches:
                cells = [_guarded(column) for column in batch.columns]
                writer.write_batch(pa.RecordBatch.from_arrays(cells, schema=schema))
                count += batch.num_rows
        if not seen.is_ascii:
            file.write(BYTE_ORDER_MARK)
        body.seek(0)
        shutil.copyfileobj(body, file, 1 << 20)
    return count


class _Ascii(io.RawIOBase):
    """Passes bytes on, and notes whether all of them are ASCII."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.is_ascii = file, True

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.is_ascii = self.is_ascii and bytes(content).isascii()
        return self._file.write(content)


def _cell_type(type_: pa.DataType) -> pa.DataType:
    """The type in which Arrow writes a column to CSV: numbers as numbers, all else as text."""
    plain = pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_)
    return type_ if plain or pa.types.is_decimal(type_) else pa.string()


def _guarded(values: pa.Array) -> pa.Array:
    wanted = _cell_type(values.type)
    if wanted != pa.string():
        return values
    if not _is_text(values.type):
        values = pa.array([_as_text(value) for value in values.to_pylist()], pa.string())
    values = values.cast(pa.string())
    runs = pc.and_not(pc.match_substring_regex(values, FORMULA), pc.match_substring_regex(values, NUMBER))
    return pc.if_else(runs, pc.binary_join_element_wise(AS_TEXT, values, ""), values)


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _as_text(value: Any) -> str | None:
    return None if value is None else str(plain_value(value))


def _guarded_name(name: str) -> str:
    return AS_TEXT + name if name[:1] in "=+-@\t\r" and name else name


def write_jsonl(path: Path, table: Table) -> int:
    """One object a row with all columns; money as exact numbers. Returns how many rows. Raises StorageError."""
    encode = msgspec.json.Encoder(decimal_format="number").encode
    count = 0
    with published(path, "the export") as file:
        for batch in table.batches:
            names = batch.schema.names
            columns = [column.to_pylist() for column in batch.columns]
            for cells in zip(*columns, strict=True):
                file.write(encode(dict(zip(names, map(plain_value, cells), strict=True))) + b"\n")
            count += batch.num_rows
    return count
