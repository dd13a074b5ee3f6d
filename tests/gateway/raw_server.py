"""A loopback server that says any bytes, and how the tests ask it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import uvloop

from rowmill.tasks.gateway.transport import Transport

BODY = b'{"n": [1,2]}'
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n" + BODY
LOOPS = [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]

Say = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


def answer(content: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole answer with its length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(content), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


class Server:
    """Reads requests and lets `say` answer each; counts connections and requests."""

    def __init__(self, say: Say, **options: Any) -> None:
        self._say, self._options = say, options
        self.connections = self.requests = self.open = self.most_open = 0
        self.seen: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")),
                    0,
                )  # fmt: skip
                self.seen.append(head + await reader.readexactly(length))
                self.requests += 1
                await self._say(reader, writer, self.requests)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, BrokenPipeError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self.serve, "127.0.0.1", 0, **self._options)
        self.port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"{'https' if 'ssl' in self._options else 'http'}://127.0.0.1:{self.port}"
        self.url = f"{self.base_url}/v1/x?y=1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


def saying(*pieces: bytes, close: bool = False, pause: float = 0.0) -> Say:
    """Answer each request with these bytes, piece by piece."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        if close:
            writer.close()

    return say


async def ask(
    transport: Transport,
    url: str,
    content: bytes = b"{}",
    *,
    timeout_s: float = 5.0,
    total_s: float = 30.0,
    is_complete: Callable[[bytes], bool] | None = None,
) -> httpx.Response:
    timeouts = {"connect": 5.0, "read": timeout_s, "write": timeout_s, "pool": None, "total": total_s}
    extensions: dict[str, Any] = {"timeout": timeouts}
    if is_complete is not None:
        extensions["is_complete"] = is_complete
    request = httpx.Request(
        "POST", url, headers={"authorization": "Bearer sk-x"}, stream=httpx.ByteStream(content), extensions=extensions
    )
    response = await transport.handle_async_request(request)
    await response.aread()
    return response


def once(say: Say, *, loop=asyncio.new_event_loop, most: int = 1 << 20, **options: Any) -> httpx.Response:
    """One question to a server that answers like this."""

    async def scenario() -> httpx.Response:
        async with Server(say) as server:
            transport = Transport(most_bytes=most)
            try:
                return await ask(transport, server.url, **options)
            finally:
                await transport.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(scenario())


def server_tls(folder) -> ssl.SSLContext:
    """What a server with the certificate and key of a folder speaks TLS by."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
