"""Stream: a file's bytes from any offset on, decompressed, one line at a time with a bounded length."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from rowmill.tasks.input.files import BUFFER, InputFile, buffer_of, raw

# What a damaged file or archive raises while it is read.
DAMAGE = (OSError, EOFError, zlib.error, pa.ArrowException)
BOM = b"\xef\xbb\xbf"
BLOCK = 1 << 17
# Stands for bytes that the encoding does not have: no valid UTF-8 comes of it.
_WRONG = "\udcff"
codecs.register_error("rowmill.wrong", lambda error: (_WRONG, getattr(error, "end", 0)))


def opened(file: InputFile, offset: int, change: Callable[[Any], Any] | None = None) -> IO[bytes]:
    """The file's bytes, decompressed, from an offset on. A stream that is changed on its way (decompressed, or by
    `change`, which takes a raw stream and gives one) has no other way than reading up to it. Raises OSError.
    """
    if file.compression is None and change is None:
        source = raw(file.place)
        source.seek(offset)
        return io.BufferedReader(source, buffer_of(file.place))
    stream = raw(file.place) if file.compression is None else _decompressed(file, file.compression)
    reader = io.BufferedReader(stream if change is None else change(io.BufferedReader(stream, BUFFER)), BUFFER)
    while offset > 0 and (chunk := reader.read(min(offset, 1 << 20))):
        offset -= len(chunk)
    return reader


def block_of(file: InputFile) -> int:
    """Bytes of an opened file to read at a time: few enough for a processor's cache, a request's worth of a bucket."""
    return BLOCK if isinstance(file.place, Path) or file.compression is not None else buffer_of(file.place)


def head_of(file: InputFile, size: int) -> bytes:
    """The first bytes, decompressed; fewer where the file is shorter. Raises OSError and its like (DAMAGE)."""
    with opened(file, 0) as stream:
        return stream.read(size)


def skip_line(stream: IO[bytes]) -> int:
    """Go to the end of a line. Returns how many bytes were left of it."""
    skipped = 0
    while chunk := stream.readline(1 << 20):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped


def too_long(most: int) -> str:
    return f"the line is longer than {most:,} bytes (limits.max_line_bytes)"


def _decompressed(file: InputFile, compression: str) -> Any:
    if isinstance(file.place, Path):
        if compression == "gzip":
            return gzip.open(file.place, "rb")
        return pa.CompressedInputStream(raw(file.place), compression)
    if compression == "gzip":
        return gzip.GzipFile(fileobj=io.BufferedReader(raw(file.place), buffer_of(file.place)))
    return pa.CompressedInputStream(raw(file.place), compression)


class Transcoded(io.RawIOBase):
    """A text in any encoding as UTF-8; where its bytes are none of that encoding, the line is no valid UTF-8."""

    def __init__(self, source: Any, encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)("rowmill.wrong")
        self._ready, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            chunk = self._source.read(BUFFER)
            self._ended = not chunk
            self._ready = self._decoder.decode(chunk, self._ended).encode("utf-8", "surrogatepass")
        taken = self._ready[: len(buffer)]
        buffer[: len(taken)] = taken
        self._ready = self._ready[len(taken) :]
        return len(taken)

    def close(self) -> None:
        self._source.close()
        super().close()


class CarriageReturns(io.RawIOBase):
    """A text whose lines end in carriage returns alone, as one whose lines end in line feeds."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._source.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._source.close()
        super().close()
