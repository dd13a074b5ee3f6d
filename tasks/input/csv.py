"""CSV and TSV: one row a record, every column text, streamed with bounded memory from any offset on."""

from __future__ import annotations

from collections.abc import Iterator

from rowmill.schemas.json_text import encode_json
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.csv_dialect import dialect_of
from rowmill.tasks.input.csv_records import records
from rowmill.tasks.input.files import InputFile, Line
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
                yield Line(record.offset, number, record.raw, row, record.problem, context, "row")
    except DAMAGE as error:
        problem = f"the rest of the file cannot be read: {error}"
        yield Line(offset, number + 1, b"", problem=problem, unit="row")
