"""Transport: HTTP/1.1 over kept-alive connections, as an httpx transport. Each answer is read whole.

A request is sent once. Only where the server had closed a kept connection before a byte of the request reached it, as
the kernel tells, does it go out again, on a new one. Why not a general client: docs/performance.md.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import resource
import ssl
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

import httpx

from rowmill.tasks.gateway.body import Body, BodyMemory, TooLarge
from rowmill.tasks.gateway.connection import Call, Connection, Cut, NotReceived, Received, TooSlow
from rowmill.tasks.gateway.dialer import Dialer
from rowmill.tasks.gateway.proxies import NO_PROXIES, Proxies, Proxy

__all__ = ["Cut", "Received", "Route", "TooLarge", "TooSlow", "Transport"]

# A second answer to one request can be told from the first answer to the next only while nothing was asked: each
# connection rests so long before it is used again, as long as no more than this number rest.
REST_S = 0.25
_FILES_MOST = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
# The files that a process may have open are needed elsewhere too.
RESTING_MOST = 128 if _FILES_MOST == resource.RLIM_INFINITY else min(128, _FILES_MOST // 8)
# For large bodies alone (see BodyMemory).
MEMORY_BYTES = 256 * 2**20
_released_at = attrgetter("released_at")
log = logging.getLogger("rowmill")


class Server:
    """One server's free connections, by when they were released, and whether a second request may follow a first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.free: list[Connection] = []
        self.is_trusted = True

    def distrust(self) -> None:
        """It sent what nobody asked for: from now on each request has a connection of its own."""
        if not self.is_trusted:
            return
        self.is_trusted = False
        log.warning("%s sends answers that nobody asked for: each call gets a connection of its own", self._name)
        self.close()

    def take(self, now: float, rest_s: float) -> Connection | None:
        """The connection used last among those that have rested; where too many rest, the one that rested longest."""
        # At full speed none has rested, and the first of them tells.
        while self.free and self.free[0].released_at <= now - rest_s:
            rested = bisect_right(self.free, now - rest_s, key=_released_at)
            if (connection := self._usable(rested - 1, now)) is not None:
                return connection
        while self.free and not self.free[0].usable:
            self.free.pop(0).close()
        return self.take_any(now) if len(self.free) >= RESTING_MOST else None

    def take_any(self, now: float) -> Connection | None:
        """The connection that rested longest."""
        while self.free:
            if (connection := self._usable(0, now)) is not None:
                return connection
        return None

    def _usable(self, at: int, now: float) -> Connection | None:
        connection = self.free.pop(at)
        if connection.is_reusable(now):
            return connection
        connection.close()
        return None

    def release(self, connection: Connection) -> None:
        if connection.usable and self.is_trusted:
            self.free.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        for connection in self.free:
            connection.close()
        self.free.clear()


@dataclass(frozen=True, slots=True)
class Route:
    """The way of a request, whatever it asks: whom it reaches, its head, and how long each exchange may take."""

    url: httpx.URL
    proxy: Proxy | None
    server: Server
    head: bytes
    has_length: bool
    connect_s: float
    silence_s: float
    total_s: float
    is_complete: Callable[[bytes], bool] | None
    is_silence: Callable[[bytes], bool] | None


class Transport(httpx.AsyncBaseTransport):
    """Connections to whoever is asked, opened as needed: one for each exchange at a time, and a few that rest."""

    def __init__(
        self,
        *,
        most_bytes: int,
        rest_s: float = REST_S,
        memory_bytes: int = MEMORY_BYTES,
        proxies: Proxies = NO_PROXIES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`most_bytes` bounds one answer, `memory_bytes` the large ones together."""
        self._most_bytes, self._rest_s, self._proxies, self._tls = most_bytes, rest_s, proxies, tls
        self._memory = BodyMemory(memory_bytes)
        self._servers: dict[tuple[bytes, bytes, int], Server] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange, within the request's `timeout`: `connect`, `read` (of silence), `total` (of everything).

        The extension `is_complete` says, from the end of a stream's body so far, whether the stream told its own end:
        then the end of its message is awaited for a moment only. The response's stream is a `Body`, to be released.
        `is_silence` says of a piece of a body that it is none: comments keep no call alive.
        Raises the errors of `Connection.exchange`, ConnectError and ConnectTimeout.
        """
        stream = request.stream
        content = stream.content if isinstance(stream, Body) else await request.aread()
        received = await self.send(self.route(request), content)
        return httpx.Response(received.status, headers=received.headers, stream=received.body)

    def route(self, request: httpx.Request) -> Route:
        """What a request has in common with all that go to the same address with the same headers, to be made once.

        Raises LocalProtocolError for a header that holds a line break.
        """
        url = request.url
        proxy = self._proxies.of(url)
        target, headers = url.raw_path, request.headers.raw
        if proxy is not None and url.scheme == "http":
            target = b"http://" + url.netloc + target
            if proxy.authorization is not None:
                headers = [*headers, (b"proxy-authorization", proxy.authorization)]
        origin = (url.raw_scheme, url.raw_host, url.port or 0)
        server = self._servers.get(origin)
        if server is None:
            server = self._servers[origin] = Server(f"{url.scheme}://{url.netloc.decode('ascii')}")
        timeouts = request.extensions["timeout"]
        return Route(
            url=url,
            proxy=proxy,
            server=server,
            head=_head(request.method.encode("ascii"), target, headers),
            has_length=request.method == "POST",
            connect_s=timeouts["connect"],
            silence_s=timeouts["read"],
            total_s=timeouts.get("total", math.inf),
            is_complete=request.extensions.get("is_complete"),
            is_silence=request.extensions.get("is_silence"),
        )

    async def send(self, route: Route, content: bytes) -> Received:
        """One exchange over a route. Raises as `handle_async_request` does."""
        loop, server = self._loop or self._begin(), route.server
        now = loop.time()
        ends_at = now + route.total_s
        length = b"content-length: %d\r\n\r\n" % len(content) if content or route.has_length else b"\r\n"
        call = Call(route.head + length, content, route.silence_s, ends_at, route.is_complete, route.is_silence)
        within_s = min(route.connect_s, ends_at - now)
        connection = server.take(now, self._rest_s) or await self._connect(route, within_s=within_s)
        try:
            received = await connection.exchange(call)
        except NotReceived:
            connection = await self._connect(route, within_s=within_s)
            received = await connection.exchange(call)
        finally:
            server.release(connection)
        if received.status == 407 and route.proxy is not None:
            received.body.release()
            raise httpx.ConnectError(f"the proxy {route.proxy} asks for a user name and a password (407)")
        return received

    async def _connect(self, route: Route, *, within_s: float) -> Connection:
        loop, server = asyncio.get_running_loop(), route.server

        def make() -> Connection:
            return Connection(loop, most_bytes=self._most_bytes, memory=self._memory, on_surplus=server.distrust)

        try:
            return await self._dialer.dial(route.url, route.proxy, make, timeout_s=within_s)
        except httpx.ConnectError as error:
            # Out of file descriptors, a connection that has not rested is better than none.
            connection = server.take_any(loop.time()) if _is_out_of_files(error) else None
            if connection is None:
                raise
            return connection

    def _begin(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        self._dialer = Dialer(self._loop, self._tls)
        return self._loop

    async def aclose(self) -> None:
        for server in self._servers.values():
            server.close()


def _is_out_of_files(error: httpx.ConnectError) -> bool:
    return getattr(error.__cause__, "errno", None) in (errno.EMFILE, errno.ENFILE)


def _head(method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The request line and headers. The body's length stands in for what headers say of it."""
    lines = [b"%s %s HTTP/1.1" % (method, target)]
    lines += [b"%s: %s" % pair for pair in headers if pair[0].lower() != b"content-length"]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx.LocalProtocolError("a header holds a line break")
    return b"".join(line + b"\r\n" for line in lines)
