"""Workbook: an Excel file, written row by row by openpyxl (the extra `excel`)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rowmill.schemas.errors import JobError, OutputError
from rowmill.tasks.export.rows import Table
from rowmill.tasks.output.flat_columns import plain_value
from rowmill.tasks.output.python_values import python_values
from rowmill.tasks.system.durable import published

# Excel's own limits.
ROWS_MOST, COLUMNS_MOST, CHARS_MOST = 1_048_576, 16_384, 32_767
WHOLE_MOST = 2**53
CUT = "…"
MONEY = "0.00##########"
# Characters that XML has no word for stand as _xHHHH_ in a workbook; what only looks so is told apart.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_LOOKS_ESCAPED = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")


def write_xlsx(path: Path, table: Table) -> tuple[int, int]:
    """One sheet; text is never a formula. Returns how many rows, and how many cells were cut to what Excel holds.

    Raises JobError where openpyxl is not installed, OutputError for more rows or columns than a sheet holds,
    StorageError.
    """
    try:
        from openpyxl import Workbook
    except ImportError:
        raise JobError(
            "writing .xlsx needs openpyxl, which is not installed",
            where=str(path),
            hint="pip install 'rowmill[excel]', or write .csv",
        ) from None
    if len(table.schema) > COLUMNS_MOST:
        raise _too_large(path, f"{len(table.schema):,} columns, and a sheet holds {COLUMNS_MOST:,}")
    with published(path, "the export") as file:
        book = Workbook(write_only=True)
        counts = _fill(book.create_sheet("results"), path, table)
        book.save(file)
    return counts


def _fill(sheet: Any, path: Path, table: Table) -> tuple[int, int]:
    sheet.freeze_panes = "A2"
    cells = _Cells(sheet)
    sheet.append([cells.text(name) for name in table.schema.names])
    count = 0
    for row in _rows(table):
        count += 1
        if count >= ROWS_MOST:
            raise _too_large(path, f"more rows than the {ROWS_MOST - 1:,} that a sheet holds")
        sheet.append([cells.cell(value) for value in row])
    return count, cells.cut


def _too_large(path: Path, what: str) -> OutputError:
    return OutputError(f"the results have {what}", where=str(path), hint="write .csv or .parquet")


def _rows(table: Table) -> Iterator[tuple[Any, ...]]:
    for batch in table.batches:
        yield from zip(*(python_values(column) for column in batch.columns), strict=True)


class _Cells:
    """Values → cells. `cut` counts the texts that were too long."""

    def __init__(self, sheet: Any) -> None:
        from openpyxl.cell import WriteOnlyCell

        self._sheet, self._make, self.cut = sheet, WriteOnlyCell, 0

    def cell(self, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int) and abs(value) <= WHOLE_MOST:
            return value
        if isinstance(value, Decimal):
            return self._decimal(value)
        if isinstance(value, float) and math.isfinite(value):
            return value
        if isinstance(value, datetime) and value.year >= 1900:
            # A workbook knows no time zones.
            return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return self.text(str(plain_value(value)))

    def _decimal(self, value: Decimal) -> Any:
        """A number that shows its places: Excel's own format shows 0.0000004 as 4E-07."""
        cell = self._make(self._sheet, value or Decimal(0))
        cell.number_format = MONEY
        return cell

    def text(self, value: str) -> Any:
        if len(value) > CHARS_MOST:
            value = value[: CHARS_MOST - 1] + CUT
            self.cut += 1
        value = _NO_XML.sub(lambda char: f"_x{ord(char[0]):04X}_", _LOOKS_ESCAPED.sub("_x005F_", value))
        cell = self._make(self._sheet, "")
        # Set past its own guess, which makes a formula of "=1+1" and an error of "#N/A".
        cell._value, cell.data_type = value, "s"
        return cell
