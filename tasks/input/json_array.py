"""JSON array: the objects of one array, streamed with bounded memory from any of them on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, Literal

from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.files import RAW_SHOWN, InputFile, Line
from rowmill.tasks.input.stream import BOM, DAMAGE, opened, too_long

CHUNK = 64 << 10
_BETWEEN = re.compile(rb"[\s,]*")
# All up to the next bracket outside of strings; it ends before a string whose end is not there yet.
_UP_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_UP_TO_QUOTE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_PLAIN = re.compile(rb'(?:"(?:[^"\\]++|\\.)*+"|[^\s,\[\]{}"]++)', re.DOTALL)
_BEGINS_WITH_ROWS = re.compile(rb'\{\s*("(?:[^"\\]++|\\.)*+")\s*:\s*\[\s*\{')
_OPENING = {b"}": b"{", b"]": b"["}


def json_array_lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    """The array's values from a cursor on; where the rest cannot be read, a last line that tells it."""
    number, offset = start.line, start.offset
    try:
        with opened(file, offset) as stream:
            for at, content, problem in _Array(stream, offset, max_line_bytes).each():
                number, offset = number + 1, at
                yield Line(at, number, content, problem=problem, unit="row")
    except DAMAGE as error:
        problem = f"the rest of the file cannot be read: {error}"
        yield Line(offset, number + 1, b"", problem=problem, unit="row")


def kind_of_json(head: bytes, *, is_all: bool) -> Literal["jsonl", "json", "object"]:
    """What a JSON text is by its beginning: one object a line, an array, or one object over many lines."""
    lines = [line.strip() for line in head.removeprefix(BOM).splitlines() if line.strip()]
    if not lines:
        return "jsonl"
    first = lines[0]
    second = lines[1] if len(lines) > 1 else b""
    is_cut = not is_all and len(lines) == 1
    if first.startswith(b"["):
        if first == b"[" or is_cut:
            return "json"
        if (value := _value(first)) is not None:
            is_rows = isinstance(value, list) and all(isinstance(row, dict) for row in value)
            return "json" if is_rows and not second else "jsonl"
        return "jsonl" if isinstance(_value(second), dict) else "json"
    if first.startswith(b"{") and not is_cut and _value(first) is None:
        return "jsonl" if not second or second.startswith(b"{") else "object"
    return "jsonl"


def list_of_rows(head: bytes, *, is_all: bool) -> str | None:
    """The name under which the one object of a JSON text holds its rows, where it is such an object in one line."""
    lines = [line.strip() for line in head.removeprefix(BOM).splitlines() if line.strip()]
    if len(lines) != 1:
        return None
    if not is_all:
        begins = _BEGINS_WITH_ROWS.match(lines[0])
        name = _value(begins[1]) if begins is not None else None
        return name if isinstance(name, str) else None
    value = _value(lines[0])
    held = value.items() if isinstance(value, dict) else ()
    return next((name for name, rows in held if isinstance(rows, list) and rows and _are_objects(rows)), None)


def _are_objects(values: list[object]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _value(text: bytes) -> object:
    try:
        return decode_json(text)
    except JsonTextError:
        return None


class _Array:
    """The values of an array in a stream. One that is too long is passed over without being held."""

    def __init__(self, stream: IO[bytes], offset: int, most: int) -> None:
        self._stream, self._most = stream, most
        # What was read and not passed yet, where it begins in the file, and how much is read next.
        self._held, self._start, self._chunk = b"", offset, CHUNK
        self._is_begun = offset > 0

    def each(self) -> Iterator[tuple[int, bytes, str | None]]:
        """Where each value begins, its bytes, and what is wrong with it."""
        if not self._is_begun:
            self._pass(len(BOM) if self._peek(len(BOM)) == BOM else 0)
            self._between()
            if self._peek(1) != b"[":
                yield self._start, self._held[:RAW_SHOWN], "the file is no array of objects"
                return
            self._pass(1)
        while True:
            self._between()
            char = self._peek(1)
            if not char:
                yield self._start, b"", "the rest of the file is missing: the array has no end"
                return
            if char == b"]":
                self._pass(1)
                self._between()
                if self._peek(1):
                    yield self._start, self._held[:RAW_SHOWN], "something stands behind the array"
                return
            begin = self._start
            content, problem, is_end = self._value()
            yield begin, content, problem
            if is_end:
                return

    def _value(self) -> tuple[bytes, str | None, bool]:
        """One value, passed; what is wrong with it; whether nothing can be read behind it."""
        if self._peek(1) in (b"{", b"["):
            return self._nested()
        while True:
            match = _PLAIN.match(self._held)
            if match and match.end() < len(self._held):
                return self._pass(match.end()), None, False
            is_cut = self._held[:1] == b'"' or match is not None
            if not is_cut or len(self._held) > self._most + CHUNK or not self._read():
                return self._held[:RAW_SHOWN], "not valid JSON", True

    def _nested(self) -> tuple[bytes, str | None, bool]:
        opened: list[bytes] = []
        at, passed, in_string = 0, 0, False
        beginning = b""
        while True:
            pattern = _UP_TO_QUOTE if in_string else _UP_TO_BRACKET
            at = pattern.match(self._held, at).end()  # type: ignore[union-attr]
            char = self._held[at : at + 1]
            if in_string:
                in_string, at = char != b'"', at + len(char)
            elif char in (b"{", b"["):
                opened.append(char)
                at += 1
                continue
            elif char in (b"}", b"]"):
                if opened.pop() != _OPENING[char]:
                    return self._held[:RAW_SHOWN], f"not valid JSON: a {char.decode()} too early", True
                at += 1
                if not opened:
                    content = self._pass(at)
                    if passed or len(content) > self._most:
                        return (beginning or content)[:RAW_SHOWN], too_long(self._most), False
                    return content, None, False
                continue
            elif char == b'"' and len(self._held) - at > self._most:
                # A string that is too long by itself is passed over piece by piece.
                in_string, at = True, at + 1
                continue
            if at > self._most:
                beginning = beginning or self._held[:RAW_SHOWN]
                passed += len(self._pass(at))
                at = 0
            if not self._read():
                return (beginning or self._held)[:RAW_SHOWN], "the rest of the file is missing", True

    def _between(self) -> None:
        while True:
            end = _BETWEEN.match(self._held).end()  # type: ignore[union-attr]
            self._pass(end)
            if self._held or not self._read():
                return

    def _peek(self, size: int) -> bytes:
        while len(self._held) < size and self._read():
            pass
        return self._held[:size]

    def _pass(self, size: int) -> bytes:
        passed, self._held = self._held[:size], self._held[size:]
        self._start += size
        self._chunk = CHUNK
        return passed

    def _read(self) -> bool:
        """Read on, more each time, so that a long value is not looked at again and again."""
        more = self._stream.read(self._chunk)
        self._chunk = min(2 * self._chunk, 16 << 20)
        self._held += more
        return bool(more)
