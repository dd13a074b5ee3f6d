"""Body: an answer's bytes, the room that all of them take together, and how an encoded one is decoded within bounds."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

import httpx

CHUNK_BYTES = 64 * 1024
# A body up to this size needs no room of its own: nearly all answers are smaller.
SMALL_BYTES = 64 * 1024
ENCODINGS_MOST = 4
# A gzip stream may hold many members, and empty ones take time without yielding a byte.
MEMBERS_MOST = 1_000
# Both of a gzip or a zlib header.
_EITHER_HEADER = zlib.MAX_WBITS | 32


class TooLarge(httpx.ReadError):
    """The answer is larger than is held."""


class Share:
    """One large body's share of the room. Released when nobody holds the body any more."""

    def __init__(self, memory: BodyMemory, resume: Callable[[], None]) -> None:
        self._memory, self.resume = memory, resume
        self.size = 0

    def take(self, size: int) -> bool:
        """Count `size` more bytes; False where reading has to wait until `resume` is called."""
        return self._memory.take(self, size)

    def release(self) -> None:
        self._memory.release(self)


class BodyMemory:
    """Room for the large bodies of all exchanges together.

    Once it is used up, one body goes on beyond it and the others wait for bodies to be released: so what is held stays
    below `most_bytes` + one body + a piece each, and no two bodies wait for each other.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._used = 0
        self._ahead: Share | None = None
        self._waiting: dict[Share, None] = {}

    def take(self, share: Share, size: int) -> bool:
        share.size += size
        self._used += size
        if self._used <= self._most_bytes or self._ahead is share:
            return True
        if self._ahead is None:
            self._ahead = share
            return True
        self._waiting[share] = None
        return False

    def release(self, share: Share) -> None:
        self._used -= share.size
        share.size = 0
        self._waiting.pop(share, None)
        if self._ahead is share:
            self._ahead = None
        while self._waiting and (self._used <= self._most_bytes or self._ahead is None):
            first = next(iter(self._waiting))
            del self._waiting[first]
            if self._used > self._most_bytes:
                self._ahead = first
            first.resume()


class Body(httpx.AsyncByteStream):
    """A whole body, as it goes or came over the wire."""

    def __init__(self, content: bytes, encodings: str = "", share: Share | None = None) -> None:
        """`encodings` as the header names them."""
        self.content, self.encodings = content, encodings
        self._share = share

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.content), CHUNK_BYTES):
            yield self.content[at : at + CHUNK_BYTES]

    def release(self) -> None:
        """Give its room back."""
        self.content = b""
        if self._share is not None:
            self._share.release()
            self._share = None

    async def aclose(self) -> None:
        self.release()


def decoded(content: bytes, encodings: str, most_bytes: int) -> bytes:
    """A body without its content codings, `encodings` as the header names them in the order they were applied.

    No step yields more than `most_bytes`. Raises TooLarge, httpx.DecodingError.
    """
    names = [name for name in (part.strip().lower() for part in encodings.split(",")) if name not in ("", "identity")]
    if len(names) > ENCODINGS_MOST:
        raise httpx.DecodingError(f"{len(names)} encodings, one within the other")
    chunks: Iterable[bytes] = (content,)
    for name in reversed(names):
        chunks = _bounded(_decoder(name)(chunks), most_bytes)
    try:
        return b"".join(chunks)
    except zlib.error as error:
        raise httpx.DecodingError(str(error)) from None


def _bounded(chunks: Iterable[bytes], most_bytes: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most_bytes:
            raise TooLarge(f"more than {most_bytes:,} bytes once decoded")
        yield chunk


def _decoder(name: str) -> Callable[[Iterable[bytes]], Iterator[bytes]]:
    if name in ("gzip", "x-gzip", "deflate"):
        return partial(_inflated, may_be_raw=name == "deflate")
    if name in ("br", "zstd"):
        return lambda chunks: _arrow_decoded(chunks, "brotli" if name == "br" else "zstd")
    raise httpx.DecodingError(f"the encoding {name[:40]!r} is unknown, and none was asked for")


def _inflated(chunks: Iterable[bytes], *, may_be_raw: bool) -> Iterator[bytes]:
    """gzip, of one member or more; or deflate, with zlib's header or, where it may be raw, without."""
    inflater, members = zlib.decompressobj(_EITHER_HEADER), 1
    for chunk in chunks:
        rest = chunk
        while rest:
            if inflater.eof:
                # Another member, or the zeros that a stream may be filled up with.
                if not (rest := rest.lstrip(b"\0")):
                    break
                members += 1
                if members > MEMBERS_MOST:
                    raise httpx.DecodingError("too many gzip members")
                inflater = zlib.decompressobj(_EITHER_HEADER)
            try:
                piece = inflater.decompress(rest, CHUNK_BYTES)
            except zlib.error:
                if not may_be_raw:
                    raise
                inflater = zlib.decompressobj(-zlib.MAX_WBITS)
                piece = inflater.decompress(rest, CHUNK_BYTES)
            may_be_raw = False
            if piece:
                yield piece
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    while not inflater.eof and (piece := inflater.decompress(inflater.unconsumed_tail, CHUNK_BYTES)):
        yield piece
    if not inflater.eof:
        raise httpx.DecodingError("the encoded answer ends too early")


class _Readable(Protocol):
    def read(self, size: int) -> bytes: ...


def _arrow_decoded(chunks: Iterable[bytes], codec: str) -> Iterator[bytes]:
    import pyarrow as pa

    try:
        stream: _Readable = pa.CompressedInputStream(pa.BufferReader(b"".join(chunks)), codec)
        while piece := stream.read(CHUNK_BYTES):
            yield piece
    except (OSError, ValueError, pa.ArrowException) as error:
        raise httpx.DecodingError(str(error)) from None
