"""Text files: CSV for spreadsheets, and JSON lines."""

from __future__ import annotations

import shutil
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from rowmill.tasks.export.rows import Table
from rowmill.tasks.output.flat_columns import plain_decimals, plain_value, told
from rowmill.tasks.output.python_values import python_values
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

    Numbers stand as they are, money with all its places. A byte order mark comes first where anything is not ASCII.
    Returns how many rows. Raises StorageError.
    """
    count = 0
    with published(path, "the export") as file, tempfile.TemporaryFile(dir=path.parent) as body:
        names = pa.array([_guarded_name(name) for name in table.schema.names], pa.large_string())
        head = ",".join(_quoted(names).to_pylist()).encode() + b"\n"
        is_ascii = head.isascii()
        body.write(head)
        for batch in table.batches:
            lines = _lines(batch)
            is_ascii = is_ascii and lines.isascii()
            body.write(lines)
            count += batch.num_rows
        if not is_ascii:
            file.write(BYTE_ORDER_MARK)
        body.seek(0)
        shutil.copyfileobj(body, file, 1 << 20)
    return count


def _lines(batch: pa.RecordBatch) -> bytes:
    """The rows of a batch, each with its end. Put together column by column: Arrow's own writer gives decimals an
    exponent, and cannot leave them without quotes as text.
    """
    if not batch.num_columns:
        return b"\n" * int(batch.num_rows)
    cells = [pc.fill_null(_cells(column), "") for column in batch.columns]
    lines: list[str] = pc.binary_join_element_wise(*cells, pa.scalar(",", pa.large_string())).to_pylist()
    return "\n".join([*lines, ""]).encode()


def _cells(values: pa.Array) -> pa.Array:
    """A column as it stands in the file."""
    type_ = values.type
    if pa.types.is_decimal(type_):
        return plain_decimals(values).cast(pa.large_string())
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return values.cast(pa.large_string())
    return _quoted(_guarded(values))


def _quoted(texts: pa.Array) -> pa.Array:
    quote = pa.scalar('"', pa.large_string())
    inner = pc.replace_substring(texts, '"', '""')
    return pc.binary_join_element_wise(quote, inner, quote, pa.scalar("", pa.large_string()))


def _guarded(values: pa.Array) -> pa.Array:
    if not (_is_text(values.type) and _is_utf8(values)):
        values = pa.array([_as_text(value) for value in python_values(values)], pa.string())
    values = values.cast(pa.large_string())
    runs = pc.and_not(pc.match_substring_regex(values, FORMULA), pc.match_substring_regex(values, NUMBER))
    apostrophe, nothing = pa.scalar(AS_TEXT, pa.large_string()), pa.scalar("", pa.large_string())
    return pc.if_else(runs, pc.binary_join_element_wise(apostrophe, values, nothing), values)


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _is_utf8(texts: pa.Array) -> bool:
    """Whether they are what they say: some writers mark any bytes as text."""
    try:
        texts.cast(pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def _as_text(value: Any) -> str | None:
    return None if value is None else str(plain_value(value))


def _guarded_name(name: str) -> str:
    return AS_TEXT + name if name[:1] in "=+-@\t\r" and name else name


def write_jsonl(path: Path, table: Table) -> int:
    """One object a row with all columns; money as exact numbers. Returns how many rows. Raises StorageError."""
    encode = msgspec.json.Encoder().encode
    count = 0
    with published(path, "the export") as file:
        for batch in table.batches:
            names = batch.schema.names
            columns = [python_values(column) for column in batch.columns]
            for cells in zip(*columns, strict=True):
                file.write(encode(dict(zip(names, map(_value, cells), strict=True))) + b"\n")
            count += batch.num_rows
    return count


def _value(cell: Any) -> Any:
    """A cell as a JSON value: decimals as numbers with all their places, and no exponent."""
    return msgspec.Raw(format(cell, "f").encode()) if isinstance(cell, Decimal) else told(plain_value(cell))
