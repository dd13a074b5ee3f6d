"""JSON Lines: one object a line, plain or compressed, streamed with bounded memory from any offset on."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.files import BUFFER, COMPRESSED, RAW_SHOWN, InputFile, Line, buffer_of, raw

_BOM = b"\xef\xbb\xbf"


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
    content = line.raw.removeprefix(_BOM) if line.number == 1 else line.raw
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
        with _open(file, offset) as stream:
            while line := stream.readline(max_line_bytes + 1):
                number += 1
                length, problem = len(line), None
                if length > max_line_bytes and not line.endswith(b"\n"):
                    length += _skip_line(stream)
                    problem = f"the line is longer than {max_line_bytes:,} bytes (limits.max_line_bytes)"
                    line = line[:RAW_SHOWN]
                yield Line(offset, number, line, problem=problem)
                offset += length
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        yield Line(offset, number + 1, b"", problem=f"the rest of the file cannot be read: {error}")


def _skip_line(stream: IO[bytes]) -> int:
    skipped = 0
    while chunk := stream.readline(1 << 20):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped


def _open(file: InputFile, offset: int) -> IO[bytes]:
    """The file's bytes, decompressed, from an offset on. A compressed stream has no other way than reading up to it."""
    compression = COMPRESSED.get(file.suffix.lower())
    if compression is None:
        source = raw(file)
        source.seek(offset)
        return io.BufferedReader(source, buffer_of(file))
    reader = io.BufferedReader(_decompressed(file, compression), BUFFER)
    while offset > 0 and (chunk := reader.read(min(offset, 1 << 20))):
        offset -= len(chunk)
    return reader


def _decompressed(file: InputFile, compression: str) -> Any:
    if isinstance(file, Path):
        return gzip.open(file, "rb") if compression == "gzip" else pa.CompressedInputStream(str(file), compression)
    if compression == "gzip":
        return gzip.GzipFile(fileobj=io.BufferedReader(raw(file), buffer_of(file)))
    return pa.CompressedInputStream(raw(file), compression)
