"""Read: input files → rows, streamed with bounded memory. Every line becomes exactly one row or one unreadable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rowmill.schemas.errors import InputError
from rowmill.schemas.row import Row, Shard, Unreadable
from rowmill.tasks.input.files import RAW_SHOWN, InputFile, Line, name_of
from rowmill.tasks.input.formats import line_batches, lines
from rowmill.tasks.input.jsonl import columns_of_line
from rowmill.tasks.input.listing import input_files, job_files

__all__ = ["input_files", "job_files", "judge", "line_batches", "lines", "shard_lines", "shard_rows", "without_id"]

# Batch files name their rows themselves: OpenAI's lines by custom_id, Gemini's by key.
BATCH_IDS = (("custom_id", "body"), ("key", "request"))


def judge(line: Line, index: int, file: str, *, id_column: str | None) -> Row | Unreadable:
    """A line → a row with its id, or the reason why it is none."""
    columns, problem = line.columns, line.problem
    if columns is None and problem is None:
        columns, problem = columns_of_line(line)
    if columns is not None and problem is None:
        row_id, problem = _row_id(columns, index, id_column)
        if problem is None:
            return Row(index, row_id, columns, file, line.number, line.unit)
    raw = line.raw[:RAW_SHOWN].decode("utf-8", "replace").rstrip("\r\n")
    # A position cannot stand for an id that the row did not tell: "#7" is no id a column would hold.
    row_id = str(index) if id_column is None else f"#{index}"
    return Unreadable(index, row_id, problem or "", file, line.number, raw, line.unit)


def without_id(id_column: str) -> str:
    """The reason of a row that does not tell its id."""
    return f"the id column {id_column!r} is missing or null"


def _row_id(columns: dict[str, Any], index: int, id_column: str | None) -> tuple[str, str | None]:
    if id_column is None:
        for column, payload in BATCH_IDS:
            if isinstance(columns.get(payload), dict) and isinstance(columns.get(column), str):
                return columns[column], None
        return str(index), None
    value = columns.get(id_column)
    if value is None:
        return "", without_id(id_column)
    if isinstance(value, (dict, list)):
        return "", f"the id column {id_column!r} holds no text or number"
    return value if isinstance(value, str) else str(value), None


def shard_lines(shard: Shard, files: list[InputFile], max_line_bytes: int) -> Iterator[tuple[Line, str]]:
    """The lines of one shard, with their file, crossing file borders where the shard does."""
    names = [name_of(file) for file in files]
    left, cursor = shard.rows, shard.start
    for file in files[names.index(cursor.file) :]:
        name = name_of(file)
        start = cursor if name == cursor.file else file.start
        for line in lines(file, start, max_line_bytes):
            if left == 0:
                return
            left -= 1
            yield line, name
    if left:
        raise InputError(
            "the input became shorter while it was read",
            where=shard.start.file,
            hint="leave it as it is while a run reads it",
        )


def shard_rows(
    shard: Shard, files: list[InputFile], id_column: str | None, *, max_line_bytes: int
) -> Iterator[Row | Unreadable]:
    """The rows of one shard, in order."""
    for step, (line, file) in enumerate(shard_lines(shard, files, max_line_bytes)):
        yield judge(line, shard.first_row + step, file, id_column=id_column)
