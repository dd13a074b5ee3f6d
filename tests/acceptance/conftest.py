"""What acceptance tests share: a way to a server that fails on request."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.gateways import Gateway, names_its_request, serving
from tests.http_thread import served


class Unsteady(ThreadingHTTPServer):
    """Passes requests on to another server. Every so many it fails one, in turn: an error before it is passed on, a
    throttle, an answer that is lost after the server has done the work, a cut connection. `ignores` are headers that
    it does not pass on, as a server that knows nothing of them; `answers` are its own, by method. While it `is_down` it
    fails all, while it `is_mute` it has all done and loses each answer.
    """

    daemon_threads = True

    def __init__(
        self,
        upstream: str,
        every: int | None = None,
        ignores: Collection[str] = (),
        answers: Mapping[str, tuple[int, bytes]] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.ignores, self.answers = {name.lower() for name in ignores}, answers or {}
        self.upstream, self.every = urlsplit(upstream), every
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.is_down = self.is_mute = False
        self.failed = 0
        self.count = itertools.count(1)

    def handle_error(self, request, client_address) -> None:
        """A connection that was cut on purpose is no news."""


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        server: Unsteady = self.server  # type: ignore[assignment]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        number = next(server.count)
        failing = number // server.every % 4 if server.every and number % server.every == 0 else None
        server.failed += failing is not None
        if server.is_down or failing == 0:
            self._answer(500, {}, b"<Error><Code>InternalError</Code></Error>")
            return
        if failing == 1:
            self._answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        if self.command in server.answers:
            status, content = server.answers[self.command]
            self._answer(status, {"Content-Type": "application/xml"}, content)
            return
        upstream = http.client.HTTPConnection(server.upstream.hostname, server.upstream.port, timeout=30)
        # The signature is over the host that the client named.
        headers = {name: value for name, value in self.headers.items() if name.lower() not in server.ignores}
        upstream.request(self.command, self.path, body, headers)
        told = upstream.getresponse()
        content = told.read()
        upstream.close()
        if failing == 2 or server.is_mute:
            self._answer(500, {}, b"<Error><Code>InternalError</Code></Error>")
        elif failing == 3:
            self.close_connection = True
            self.connection.close()
        else:
            self._answer(told.status, dict(told.getheaders()), content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    def log_message(self, *_: object) -> None:
        """Nothing: the tests tell what went wrong."""


@pytest.fixture
def unsteady() -> Iterator[Callable[..., Unsteady]]:
    """Start ways to a server that fail every so many requests, or all while `is_down`; they end with the test."""
    with ExitStack() as stack:
        yield lambda upstream, **keys: stack.enter_context(served(Unsteady(upstream, **keys)))


@pytest.fixture
def gateways() -> Iterator[Callable[..., Gateway]]:
    """Start scripted gateways; they end with the test."""
    with ExitStack() as stack:
        yield lambda script=names_its_request, **keys: stack.enter_context(serving(script, **keys))
