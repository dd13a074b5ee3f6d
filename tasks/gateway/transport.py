"""Transport: HTTP/1.1 over kept-alive connections, as an httpx transport. Each answer is read whole.

Messages are parsed by llhttp (httptools), TLS is asyncio's. A connection carries one exchange at a time; nothing is
sent twice, whatever happened to it. Why not a general client: docs/performance.md.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import cast

import httptools
import httpx

KEPT_ALIVE_S = 20.0
HEAD_MOST_BYTES = 64 * 1024
PIECE_BYTES = 64 * 1024
Origin = tuple[bytes, bytes, int]


class Cut(httpx.ReadError):
    """The connection was lost, or stopped speaking HTTP, in the middle of an answer."""


class TooLarge(httpx.ReadError):
    """The answer is larger than is held."""


class Body(httpx.AsyncByteStream):
    """An answer's body, told in pieces, so that an encoded one can be given up while it unfolds."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._content), PIECE_BYTES):
            yield self._content[at : at + PIECE_BYTES]


class Connection(asyncio.Protocol):
    """One connection, and the parser's callbacks for the answer that it waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most_bytes: int) -> None:
        self._loop, self._most_bytes = loop, most_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[httpx.Response] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.usable = False
        self._last_at = loop.time()
        self._forget_message()

    def _forget_message(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._received = 0
        self._in_body = False
        self._ends_with_connection = True

    async def exchange(self, head: bytes, content: bytes, timeout_s: float) -> httpx.Response:
        """Send a request and wait for its whole answer; `timeout_s` bounds the silence, not the length.

        Raises RemoteProtocolError (lost before an answer), Cut, TooLarge, ReadTimeout.
        """
        self._forget_message()
        answer: asyncio.Future[httpx.Response] = self._loop.create_future()
        self._answer = answer
        self._timeout_s, self._last_at = timeout_s, self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(timeout_s, self._look)
        try:
            self._unsent = len(content)
            self._transport.writelines((head, content))
            return await answer
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None

    @property
    def is_fresh(self) -> bool:
        """Whether the other side is still likely to keep this connection."""
        return self.usable and not self._transport.is_closing() and self._loop.time() - self._last_at < KEPT_ALIVE_S

    def _look(self) -> None:
        """End an exchange in which nothing was sent or received for its time limit."""
        self._timer = None
        if self._answer is None:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent, self._last_at = unsent, self._loop.time()
        left = self._last_at + self._timeout_s - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._fail(httpx.ReadTimeout(f"no byte for {self._timeout_s:g} s"))

    def close(self) -> None:
        """Drop the connection at once."""
        self.usable = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()

    def _fail(self, error: httpx.TransportError) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only like them.
        self._transport, self.usable = cast(asyncio.Transport, transport), True

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            # Nothing was asked: what comes now could be taken for the answer of the next row.
            self.close()
            return
        self._last_at = self._loop.time()
        self._received += len(data)
        if self._received > (self._most_bytes if self._in_body else HEAD_MOST_BYTES + len(data)):
            self._fail(TooLarge(f"more than {self._most_bytes:,} bytes (of a head: {HEAD_MOST_BYTES:,})"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            kind = Cut if self._in_body else httpx.RemoteProtocolError
            self._fail(kind(f"what came is not HTTP: {error}"))

    def eof_received(self) -> None:
        self.usable = False

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        if self._answer is None or self._answer.done():
            return
        if self._in_body and self._ends_with_connection and error is None:
            self.on_message_complete()
        elif self._received:
            self._fail(Cut("the connection was lost in the middle of an answer"))
        else:
            self._fail(httpx.RemoteProtocolError(f"the connection was lost{f': {error}' if error else ''}"))

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self.usable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._ends_with_connection = False

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            # "100 Continue" and its like announce the answer; they are not it.
            self._forget_message()
            return
        response = httpx.Response(status, headers=self._headers, stream=Body(b"".join(self._body)))
        keeps = self._parser.should_keep_alive() and not self._ends_with_connection
        # An answer that came before its request was sent leaves the rest of it in the way of the next.
        self.usable = self.usable and keeps and not self._transport.get_write_buffer_size()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(response)


class Transport(httpx.AsyncBaseTransport):
    """Connections to whoever is asked, opened as they are needed: as many as there are exchanges at one time."""

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._idle: dict[Origin, list[Connection]] = {}
        self._tls: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange. Raises the errors of `Connection.exchange`, ConnectError and ConnectTimeout."""
        timeouts = request.extensions["timeout"]
        content = await request.aread()
        head = _head(request.method.encode("ascii"), request.url.raw_path, tuple(request.headers.raw))
        if content or request.method == "POST":
            head += b"content-length: %d\r\n" % len(content)
        origin = (request.url.raw_scheme, request.url.raw_host, request.url.port or 0)
        connection = self._kept(origin) or await self._connect(request.url, timeouts["connect"])
        try:
            return await connection.exchange(head + b"\r\n", content, timeouts["read"])
        finally:
            if connection.usable:
                self._idle.setdefault(origin, []).append(connection)
            else:
                connection.close()

    def _kept(self, origin: Origin) -> Connection | None:
        """The connection that was used last, if it is fresh."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_fresh:
                return connection
            connection.close()
        return None

    async def _connect(self, url: httpx.URL, timeout_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        secure = url.scheme == "https"
        if secure and self._tls is None:
            self._tls = httpx.create_ssl_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._most_bytes),
                    url.raw_host.decode("ascii"),
                    url.port or (443 if secure else 80),
                    ssl=self._tls if secure else None,
                )
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection within {timeout_s:g} s") from None
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        return connection

    async def aclose(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()


@lru_cache(16)
def _head(method: bytes, target: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The request line and headers, the same for every row. The body's length stands in for what headers say of it."""
    lines = [b"%s %s HTTP/1.1" % (method, target)]
    lines += [b"%s: %s" % pair for pair in headers if pair[0].lower() != b"content-length"]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx.LocalProtocolError("a header holds a line break")
    return b"".join(line + b"\r\n" for line in lines)
