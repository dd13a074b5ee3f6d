"""JSON Lines: one object a line, plain or compressed, streamed with bounded memory from any offset on."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, groupby
from typing import Any

from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.files import RAW_SHOWN, InputFile, Line
from rowmill.tasks.input.line_batch import LineBatch, RawLines, ReadLines
from rowmill.tasks.input.stream import BOM, DAMAGE, block_of, opened, too_long

# Bytes of blank lines that are packed at a time.
PIECE = 1 << 16


def jsonl_lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    """The lines of `jsonl_batches`, each by itself."""
    for batch in jsonl_batches(file, start, max_line_bytes):
        yield from batch.each()


def jsonl_batches(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[LineBatch]:
    """The lines from a cursor on; where the rest cannot be read, a last one that tells it.

    Blank lines at a file's very end are its closing line feeds; one in the middle is a row gone wrong.
    """
    blanks: _Blanks | None = None
    for batch in chain.from_iterable(map(_apart, _batches(file, start, max_line_bytes))):
        if isinstance(batch, RawLines) and batch.raws[0].isspace():
            blanks = blanks or _Blanks(batch.offset, batch.before)
            blanks.add(batch.raws)
            continue
        if blanks is not None:
            yield from blanks.batches()
            blanks = None
        yield batch


def _apart(batch: RawLines | ReadLines) -> Iterator[RawLines | ReadLines]:
    """A batch, cut where blank lines begin and end."""
    if isinstance(batch, ReadLines) or not any(map(bytes.isspace, batch.raws)):
        yield batch
        return
    offset, before = batch.offset, batch.before
    for _, group in groupby(batch.raws, bytes.isspace):
        some = RawLines(offset, before, list(group))
        yield some
        offset += some.size()
        before += len(some)


class _Blanks:
    """Blank lines in a row, from an offset and a number on, until it is known what follows; packed, since a file may
    hold nothing else.
    """

    def __init__(self, offset: int, before: int) -> None:
        self._offset, self._before = offset, before
        self._packer = zlib.compressobj(1)
        self._packed: list[bytes] = []
        self._latest = bytearray()

    def add(self, raws: Iterable[bytes]) -> None:
        for raw in raws:
            self._latest += raw
            if len(self._latest) >= PIECE:
                self._pack()

    def _pack(self) -> None:
        self._packed.append(self._packer.compress(bytes(self._latest)))
        self._latest.clear()

    def batches(self) -> Iterator[RawLines]:
        """The lines again; each ends in a line feed, since another line came after it."""
        self._pack()
        self._packed.append(self._packer.flush())
        offset, before = self._offset, self._before
        for raws in _whole(self._unpacked()):
            batch = RawLines(offset, before, raws)
            yield batch
            offset += batch.size()
            before += len(batch)

    def _unpacked(self) -> Iterator[bytes]:
        unpacker = zlib.decompressobj()
        for packed in self._packed:
            while packed:
                yield unpacker.decompress(packed, PIECE)
                packed = unpacker.unconsumed_tail
        yield unpacker.flush()


def _whole(pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
    """The lines that pieces of a text hold, with their line feeds."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if lines:
            yield [line + b"\n" for line in lines]


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


def _batches(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[RawLines | ReadLines]:
    """Lines as they are read, blank ones among them; one that is too long by itself, with its beginning."""
    offset, before = start.offset, start.line
    try:
        with opened(file, offset) as stream:
            for raws in _blocks(stream, block_of(file), max_line_bytes):
                if isinstance(raws, _TooLong):
                    line = Line(offset, before + 1, raws.begins, problem=too_long(max_line_bytes))
                    yield ReadLines([line])
                    offset, before = offset + raws.length, before + 1
                    continue
                batch = RawLines(offset, before, raws)
                yield batch
                offset, before = offset + batch.size(), before + len(batch)
    except DAMAGE as error:
        problem = f"the rest of the file cannot be read: {error}"
        yield ReadLines([Line(offset, before + 1, b"", problem=problem)])


@dataclass(frozen=True, slots=True)
class _TooLong:
    """A line of more than the bytes that are allowed, its line feed not counted: how it begins, how long it is."""

    begins: bytes
    length: int


def _blocks(stream: Any, size: int, most: int) -> Iterator[list[bytes] | _TooLong]:
    """The lines of a stream with their line feeds, a block of about `size` bytes at a time."""
    # The beginning of a line whose end was not read yet, in pieces.
    pieces: list[bytes] = []
    held, left = 0, b""
    while block := left or stream.read1(size):
        left = b""
        end = block.rfind(b"\n") + 1
        if not end:
            pieces.append(block)
            held += len(block)
            if held > most:
                found, left = _skipped(b"".join(pieces), stream, size, most=most)
                pieces, held = [], 0
                yield found
            continue
        yield from _shown(b"".join([*pieces, block[:end]]), most)
        pieces = [block[end:]]
        held = len(block) - end
        if held > most:
            found, left = _skipped(pieces[0], stream, size, most=most)
            pieces, held = [], 0
            yield found
    if held:
        yield from _shown(b"".join(pieces), most)


def _shown(whole: bytes, most: int) -> Iterator[list[bytes] | _TooLong]:
    """The lines of a text, those that are too long each by itself."""
    raws = BytesIO(whole).readlines()
    if max(map(len, raws)) <= most:
        yield raws
        return
    for is_long, group in groupby(raws, lambda raw: len(raw.removesuffix(b"\n")) > most):
        if is_long:
            yield from (_TooLong(_begins(raw, most), len(raw)) for raw in group)
        else:
            yield list(group)


def _skipped(begun: bytes, stream: Any, size: int, *, most: int) -> tuple[_TooLong, bytes]:
    """A line whose beginning is too long already, and what was read of those after it."""
    begins, length = _begins(begun, most), len(begun)
    while block := stream.read1(size):
        end = block.find(b"\n") + 1
        if end:
            return _TooLong(begins, length + end), block[end:]
        length += len(block)
    return _TooLong(begins, length), b""


def _begins(raw: bytes, most: int) -> bytes:
    return raw[: min(most + 1, RAW_SHOWN)]
