"""Workbook: the rows of one sheet of an Excel file, with the types of their cells."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import InputError, first_line
from rowmill.tasks.input.files import InputFile, raw
from rowmill.tasks.input.typed_columns import Table, text_of, typed

ENDINGS = (".xlsx", ".xlsm")


@contextmanager
def sheet_table(file: InputFile, sheet: str | None) -> Iterator[Table]:
    """The rows of a sheet, the first unless one is named. Its first row that is not empty names the columns; empty rows
    are none. Raises InputError.
    """
    where = str(file)
    try:
        import openpyxl
    except ImportError:
        raise InputError(
            "Excel files need openpyxl", where=where, hint="pip install 'rowmill[excel]', or save the sheet as CSV"
        ) from None
    try:
        with warnings.catch_warnings(), raw(file.place) as source:
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(source, read_only=True, data_only=True)
            chosen = _chosen(book, sheet, where)
            # What a file says of its size is often wrong.
            chosen.reset_dimensions()
            errors: list[str] = []
            rows = _rows(chosen, errors)
            header = ["" if value is None else text_of(value) for value in next(rows, [])]
            with typed(header, rows) as table:
                yield Table(table.schema, table.batches, [*_notes(book, chosen, errors), *table.notes])
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise InputError(
            f"no readable Excel workbook: {first_line(error)}", where=where, hint="open it and save it again as .xlsx"
        ) from None


def _chosen(book: Any, sheet: str | None, where: str) -> Any:
    names = [one.title for one in book.worksheets]
    if not names:
        raise InputError("the workbook has no sheet of cells", where=where, hint="name another file")
    if sheet is None:
        return book.worksheets[0]
    if sheet not in names:
        raise InputError(f"there is no sheet {sheet!r}", where=where, hint=f"sheet names one of: {', '.join(names)}")
    return book[sheet]


def _rows(sheet: Any, errors: list[str]) -> Iterator[list[Any]]:
    for cells in sheet.iter_rows():
        row: list[Any] = []
        for cell in cells:
            if cell.data_type == "e":
                errors.append(str(cell.value))
                row.append(None)
            else:
                row.append(None if cell.value == "" else cell.value)
        while row and row[-1] is None:
            row.pop()
        if row:
            yield row


def _notes(book: Any, chosen: Any, errors: list[str]) -> list[str]:
    names = [one.title for one in book.worksheets]
    notes = [f"sheet {chosen.title!r} of {', '.join(names)}"] if len(names) > 1 else []
    if errors:
        shown = ", ".join(sorted(set(errors))[:5])
        notes.append(f"{counted(len(errors), 'cell')} with an error ({shown}): read as empty")
    return notes
