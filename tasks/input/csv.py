"""CSV and TSV: one row a record, every column text, streamed with bounded memory from any offset on."""

from __future__ import annotations

from collections.abc import Iterator

from rowmill.schemas.json_text import encode_json
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.csv_dialect import Dialect, dialect_of
from rowmill.tasks.input.csv_records import records
from rowmill.tasks.input.files import InputFile, Line
from rowmill.tasks.input.line_numbers import line_numbers
from rowmill.tasks.input.stream import DAMAGE


def csv_lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    """The rows from a cursor on; where the rest cannot be read, a last one that tells it. Raises InputError."""
    number = start.line
    offset = start.offset
    try:
        dialect = dialect_of(file)
        context = encode_json(dialect.told)
        columns = dialect.columns
        offset = max(offset, dialect.begin)
        encoding = "utf-8" if dialect.is_transcoded else dialect.encoding
        with dialect.open(file, offset) as stream:
            for record in records(stream, offset, dialect.syntax, encoding=encoding, most=max_line_bytes):
                number, offset = number + 1, record.offset + record.length
                row = None if record.fields is None else dict(zip(columns, record.fields, strict=True))
                problem = record.problem and f"{record.problem}{_in_the_file(file, dialect, record.offset)}"
                yield Line(record.offset, number, record.raw, row, problem, context, "row")
    except DAMAGE as error:
        problem = f"the rest of the file cannot be read: {error}"
        yield Line(offset, number + 1, b"", problem=problem, unit="row")


def _in_the_file(file: InputFile, dialect: Dialect, offset: int) -> str:
    """Where an editor shows it: the header and blank lines count there, and a record may have several lines."""
    try:
        number = line_numbers(file).at(offset, file, dialect)
    except DAMAGE:
        number = None
    return "" if number is None else f" (line {number:,} of the file)"
