"""JSON Lines: one object a line, plain or compressed, streamed with bounded memory from any offset on."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.files import RAW_SHOWN, InputFile, Line
from rowmill.tasks.input.stream import BOM, DAMAGE, opened, skip_line, too_long

# Bytes of blank lines that are packed at a time.
PIECE = 1 << 16


def jsonl_lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    """The lines from a cursor on; where the rest cannot be read, a last one that tells it.

    Blank lines at a file's very end are its closing line feeds; one in the middle is a row gone wrong.
    """
    blanks: _Blanks | None = None
    for line in _lines(file, start, max_line_bytes):
        if line.problem is None and (line.raw.isspace() or not line.raw):
            blanks = blanks or _Blanks(line.offset, line.number)
            blanks.add(line.raw)
            continue
        if blanks is not None:
            yield from blanks.lines()
            blanks = None
        yield line


class _Blanks:
    """Blank lines in a row, from an offset and a number on, until it is known what follows; packed, since a file may
    hold nothing else.
    """

    def __init__(self, offset: int, number: int) -> None:
        self._offset, self._number = offset, number
        self._packer = zlib.compressobj(1)
        self._packed: list[bytes] = []
        self._latest = bytearray()

    def add(self, raw: bytes) -> None:
        self._latest += raw
        if len(self._latest) >= PIECE:
            self._pack()

    def _pack(self) -> None:
        self._packed.append(self._packer.compress(bytes(self._latest)))
        self._latest.clear()

    def lines(self) -> Iterator[Line]:
        """The lines again; each ends in a line feed, since another line came after it."""
        self._pack()
        self._packed.append(self._packer.flush())
        offset, number = self._offset, self._number
        for raw in _whole(self._unpacked()):
            yield Line(offset, number, raw)
            offset += len(raw)
            number += 1

    def _unpacked(self) -> Iterator[bytes]:
        unpacker = zlib.decompressobj()
        for packed in self._packed:
            while packed:
                yield unpacker.decompress(packed, PIECE)
                packed = unpacker.unconsumed_tail
        yield unpacker.flush()


def _whole(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The lines that pieces of a text hold, with their line feeds."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"


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
