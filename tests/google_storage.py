"""A server that speaks Google's XML API as its reference documents it, in memory, for an output at gs://.

https://cloud.google.com/storage/docs/xml-api/reference-headers: `x-goog-if-generation-match` (0: the object must not
be there) answers 412 where it does not hold; every answer about an object tells its generation and its MD5 as the tag.
No emulator of pip or npm holds to these conditions: gcp-storage-emulator knows nothing of them, fake-gcs-server takes
no XML writes and answers 200 to a stale `ifGenerationMatch`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.http_thread import served

CONDITION = "x-goog-if-generation-match"
PAGE = 1_000


class GoogleStorage(ThreadingHTTPServer):
    """One bucket, `answers`. `holds` tells whether conditions are held to; `answers` are its own refusals, by method."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *, holds: bool = True, answers: Mapping[str, tuple[int, bytes]] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.holds, self.answers = holds, answers or {}
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.generation = 1_700_000_000_000_000
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.lock = threading.Lock()

    def handle_error(self, request, client_address) -> None:
        """A client that was killed is no news."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GoogleStorage

    def _ask(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        split = urlsplit(self.path)
        bucket, _, name = unquote(split.path).removeprefix("/").partition("/")
        with self.server.lock:
            self.server.requests.append((self.command, name))
            self.server.tokens.add(self.headers.get("Authorization", ""))
            if self.command in self.server.answers:
                self._answer(*self.server.answers[self.command])
            elif bucket != "answers":
                self._answer(404, b"<Error><Code>NoSuchBucket</Code><Message>no bucket</Message></Error>")
            elif not name:
                self._list(parse_qs(split.query))
            else:
                self._object(name, body)

    do_GET = do_PUT = do_DELETE = do_HEAD = _ask

    def _object(self, name: str, body: bytes) -> None:
        objects, wanted = self.server.objects, self.headers.get(CONDITION)
        held = objects.get(name)
        if self.command == "PUT":
            if self.server.holds and wanted is not None and int(wanted) != (held[1] if held else 0):
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            self.server.generation += 1
            objects[name] = body, self.server.generation
            self._answer(200, b"", objects[name])
        elif held is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        elif self.command == "DELETE":
            del objects[name]
            self._answer(204, b"")
        else:
            self._answer(200, held[0], held)

    def _list(self, asked: dict[str, list[str]]) -> None:
        prefix, after = (asked.get(key, [""])[0] for key in ("prefix", "continuation-token"))
        names = sorted(name for name in self.server.objects if name.startswith(prefix) and name > after)
        told = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2026-11-21T00:00:00Z</LastModified>"
            f"<ETag>{_tag(self.server.objects[name][0])}</ETag><Size>{len(self.server.objects[name][0])}</Size></Contents>"
            for name in names[:PAGE]
        )
        if len(names) > PAGE:
            told += f"<NextContinuationToken>{escape(names[PAGE - 1])}</NextContinuationToken>"
        self._answer(200, f"<ListBucketResult>{told}</ListBucketResult>".encode())

    def _answer(self, status: int, content: bytes, stored: tuple[bytes, int] | None = None) -> None:
        self.send_response(status)
        if stored is not None:
            self.send_header("ETag", _tag(stored[0]))
            self.send_header("x-goog-generation", str(stored[1]))
            self.send_header("Last-Modified", formatdate(usegmt=True))
        self.send_header("Content-Length", str(len(content)) if status != 204 else "0")
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests tell what went wrong."""


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


@contextmanager
def google_storage(
    *, holds: bool = True, answers: Mapping[str, tuple[int, bytes]] | None = None
) -> Iterator[GoogleStorage]:
    """A server; it is gone when the block ends."""
    with served(GoogleStorage(holds=holds, answers=answers)) as server:
        yield server
