"""CSV records: lines → records of fields, any line break inside quotes included, in bounded memory.

What is no record costs one line. A quote that is opened and never closed would take in the rest of the file: then its
first line alone is wrong, and reading goes on with the next.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import IO

import msgspec

from rowmill.schemas.display_text import counted
from rowmill.tasks.input.files import RAW_SHOWN
from rowmill.tasks.input.stream import skip_line, too_long

# How far an open quote is followed: a record longer than the longest line is one unreadable row, not many.
FOLLOWED = 2
FOLLOWED_LEAST, FOLLOWED_LINES = 1 << 20, 1 << 16
UNCLOSED = "a quote is opened and not closed"


@dataclass(frozen=True, slots=True)
class Syntax:
    """How fields are parted. `columns`: how many a record has; None where that is not known yet."""

    separator: str
    quote: str
    escape: str
    skips_space: bool = False
    columns: int | None = None


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record: where it begins, how many bytes it takes, its bytes (their beginning where they are too many), and
    its fields or what is wrong with it.
    """

    offset: int
    length: int
    raw: bytes
    fields: list[str] | None
    problem: str | None = None


class _End(Enum):
    """How the last field of a line ends."""

    CLOSED = "closed"
    OPEN = "open"
    WRONG = "wrong"


class _Physical(msgspec.Struct, frozen=True, gc=False):
    content: bytes
    length: int
    is_long: bool


def records(stream: IO[bytes], offset: int, syntax: Syntax, *, encoding: str, most: int) -> Iterator[Record]:
    """The records of a stream that stands at `offset`. Lines without a character are none of them."""
    return _Records(stream, offset, syntax, encoding=encoding, most=most).each()


class _Records:
    def __init__(self, stream: IO[bytes], offset: int, syntax: Syntax, *, encoding: str, most: int) -> None:
        self._stream, self._offset, self._syntax = stream, offset, syntax
        self._encoding, self._most = encoding, most
        self._quote = syntax.quote.encode()
        self._given_back: deque[_Physical] = deque()

    def each(self) -> Iterator[Record]:
        quote, separator = self._quote, self._syntax.separator
        while (line := self._next()) is not None:
            if line.is_long:
                yield self._record(line.content, line.length, None, problem=too_long(self._most))
            elif not (body := line.content.rstrip(b"\r\n")):
                self._offset += line.length
            elif quote and quote in body:
                yield self._quoted(line)
            else:
                text, problem = self._text(body)
                yield self._judged(line.content, text.split(separator), problem)

    def _next(self) -> _Physical | None:
        if self._given_back:
            return self._given_back.popleft()
        content = self._stream.readline(self._most + 1)
        if not content:
            return None
        if len(content) > self._most and not content.endswith(b"\n"):
            return _Physical(content[:RAW_SHOWN], len(content) + skip_line(self._stream), True)
        return _Physical(content, len(content), False)

    def _text(self, content: bytes) -> tuple[str, str | None]:
        try:
            return content.decode(self._encoding), None
        except UnicodeDecodeError as error:
            wrong = f"byte {content[error.start]:#04x}"
            return content.decode(self._encoding, "replace"), f"not valid {self._encoding.upper()}: {wrong}"

    def _record(self, raw: bytes, length: int, fields: list[str] | None, *, problem: str | None) -> Record:
        record = Record(self._offset, length, raw, fields, problem)
        self._offset += length
        return record

    def _judged(self, raw: bytes, fields: list[str], problem: str | None) -> Record:
        wanted = self._syntax.columns
        if problem is None and wanted is not None and len(fields) != wanted:
            problem = f"{counted(len(fields), 'field')}, the header has {wanted}"
        if problem is None and len(raw) > self._most + 1:
            problem = too_long(self._most)
        return self._record(raw, len(raw), None if problem else fields, problem=problem)

    def _quoted(self, first: _Physical) -> Record:
        """A record that begins with this line, and ends with it or with a later one."""
        lines, fields, problem = [first], [], None  # type: tuple[list[_Physical], list[str], str | None]
        end, size = _End.CLOSED, 0
        follow = max(FOLLOWED * self._most, FOLLOWED_LEAST)
        while True:
            line = lines[-1]
            body = line.content.rstrip(b"\r\n")
            text, wrong = self._text(body)
            problem, size = problem or wrong, size + line.length
            found, end = fields_of(text, self._syntax, goes_on=end is _End.OPEN)
            if len(lines) > 1:
                fields[-1] += found.pop(0)
            fields += found
            if end is not _End.OPEN:
                break
            fields[-1] += line.content[len(body) :].decode("ascii")
            following = self._next() if size <= follow and len(lines) < FOLLOWED_LINES else None
            if following is None or following.is_long:
                if following is not None:
                    lines.append(following)
                return self._first_alone(lines, UNCLOSED)
            lines.append(following)
        if end is _End.WRONG:
            return self._first_alone(lines, UNCLOSED if len(lines) > 1 else "text stands behind a closing quote")
        if len(lines) > 1 and self._are_rows(fields, lines[1:]):
            return self._first_alone(lines, UNCLOSED)
        return self._judged(b"".join(line.content for line in lines), fields, problem)

    def _are_rows(self, fields: list[str], lines: list[_Physical]) -> bool:
        """Whether the lines that a quoted field took in are records themselves, and the whole is none."""
        wanted = self._syntax.columns
        if wanted is None or len(fields) == wanted:
            return False
        for line in lines:
            found, end = fields_of(self._text(line.content.rstrip(b"\r\n"))[0], self._syntax)
            if end is not _End.CLOSED or len(found) != wanted:
                return False
        return True

    def _first_alone(self, lines: list[_Physical], problem: str) -> Record:
        self._given_back.extendleft(reversed(lines[1:]))
        return self._record(lines[0].content, lines[0].length, None, problem=problem)


def fields_of(text: str, syntax: Syntax, *, goes_on: bool = False) -> tuple[list[str], _End]:
    """The fields of one line without its end, the first of which may go on from the line before.

    Where the end is OPEN the last one goes on in the next line.
    """
    quote, separator = syntax.quote, syntax.separator
    inside, spaces = _patterns(syntax)
    found: list[str] = []
    at, size = 0, len(text)
    is_open = goes_on
    while True:
        start = at
        if not is_open and syntax.skips_space:
            match = spaces.match(text, at)
            start = match.end() if match and text.startswith(quote, match.end()) else at
        if is_open or text.startswith(quote, start):
            match = inside.match(text, start if is_open else start + 1)
            assert match is not None
            found.append(_plain(match.group(), syntax))
            at, is_open = match.end(), False
            if at >= size:
                return found, _End.OPEN
            match = spaces.match(text, at + 1)
            at = match.end() if match else at + 1
            if at >= size:
                return found, _End.CLOSED
            if text[at] != separator:
                return found, _End.WRONG
            at += 1
            continue
        end = text.find(separator, at)
        if end < 0:
            found.append(text[at:])
            return found, _End.CLOSED
        found.append(text[at:end])
        at = end + 1


def _plain(inside: str, syntax: Syntax) -> str:
    if syntax.escape and syntax.escape in inside:
        return re.sub(re.escape(syntax.escape) + r"(.?)", r"\1", inside.replace(syntax.quote * 2, syntax.quote))
    return inside.replace(syntax.quote * 2, syntax.quote)


@lru_cache(64)
def _patterns(syntax: Syntax) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What stands inside quotes, and the blanks that may stand beside them."""
    quote, escape = re.escape(syntax.quote), re.escape(syntax.escape)
    escaped = rf"|{escape}.|{escape}\Z" if escape else ""
    blanks = "".join(blank for blank in " \t" if blank != syntax.separator)
    return re.compile(f"(?:[^{quote}{escape}]++|{quote}{quote}{escaped})*+", re.DOTALL), re.compile(f"[{blanks}]*")
