"""JSON Lines: one object a line, plain or compressed, streamed with bounded memory from any offset on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.files import RAW_SHOWN, InputFile, Line
from rowmill.tasks.input.stream import BOM, DAMAGE, opened, skip_line, too_long


def jsonl_lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    """The lines from a cursor on; where the rest cannot be read, a last one that tells it.

    Blank lines at a file's very end are its closing line feeds; one in the middle is a row gone wrong.
    """
    blanks: list[Line] = []
    for line in _lines(file, start, max_line_bytes):
        if line.problem is None and not line.raw.strip():
            blanks.append(line)
            continue
        yield from blanks
        blanks.clear()
        yield line


def columns_of_line(line: Line) -> tuple[dict[str, Any] | None, str | None]:
    """The columns of a line, or why it has none."""
    content = line.raw.removeprefix(BOM) if line.number == 1 else line.raw
    if not content.strip():
        return None, "the line is empty"
    try:
        value = decode_json(content)
    except JsonTextError as error:
        return None, f"not valid JSON: {error}"
    if not isinstance(value, dict):
        return None, f"a JSON object is expected, this is {_json_type(value)}"
    return value, None


def _json_type(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    offset, number = start.offset, start.line
    try:
        with opened(file, offset) as stream:
            while line := stream.readline(max_line_bytes + 1):
                number += 1
                length, problem = len(line), None
                if length > max_line_bytes and not line.endswith(b"\n"):
                    length += skip_line(stream)
                    problem = too_long(max_line_bytes)
                    line = line[:RAW_SHOWN]
                yield Line(offset, number, line, problem=problem)
                offset += length
    except DAMAGE as error:
        yield Line(offset, number + 1, b"", problem=f"the rest of the file cannot be read: {error}")
