"""Connection: one HTTP/1.1 connection that carries one exchange at a time, as an asyncio protocol.

Messages are parsed by llhttp (httptools). HTTP/1.1 matches answers to requests by their order alone, so a connection
is worth as much as its silence: any byte beyond the answer that was awaited ends it.
"""

from __future__ import annotations

import asyncio
import re
import select
import sys
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools
import httpx
import msgspec

from rowmill.tasks.gateway.body import SMALL_BYTES, Body, BodyMemory, Share, TooLarge

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ

KEPT_ALIVE_S = 20.0
HEAD_MOST_BYTES = 64 * 1024
# A stream's end stands in its last event, which may come in two pieces.
TAIL_BYTES = 16 * 1024
# A stream that has ended is given this long to end its message too, so that its last bytes are not lost.
GRACE_S = 0.5
# What was sent before a request arrived comes soon after it, even where it is sent anew. Asking the kernel takes time.
CROSSING_S = 2.0
# A server may say so to a connection that it has waited on for too long; it answers nothing.
FAREWELLS = (b"HTTP/1.1 408", b"HTTP/1.0 408")
_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?i)\btimeout\s*=\s*\"?(\d{1,9})")
# RFC 9110, 6.4.1: these end with their head, whatever their head announces.
_BODILESS = (204, 304)


class Cut(httpx.ReadError):
    """The connection was lost, or stopped speaking HTTP, in the middle of an answer."""


class TooSlow(httpx.ReadTimeout):
    """The answer was not whole when the time of its whole exchange was up."""


class NotReceived(httpx.RemoteProtocolError):
    """The server had ended the connection before a byte of the request arrived: the request was never read."""


class Call(NamedTuple):
    """A request as it goes over the wire, and how long its answer is awaited.

    `silence_s` bounds the time without a byte, `ends_at` (of the loop's clock) the whole. `is_complete` is shown
    each new piece of the body, behind the last 16 KiB before it, and says whether a stream has reached its own end.
    `is_silence` says of a piece of the body that it brings nothing.
    """

    head: bytes
    content: bytes
    silence_s: float
    ends_at: float
    is_complete: Callable[[bytes], bool] | None = None
    is_silence: Callable[[bytes], bool] | None = None


NOTHING = Call(b"", b"", 0.0, 0.0)


class Received(msgspec.Struct, frozen=True):
    """A whole answer, its headers as they came. Its body is to be released."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: Body


class Connection(asyncio.Protocol):
    """One connection, and the parser's callbacks for the answer that it waits for."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        most_bytes: int,
        memory: BodyMemory,
        on_surplus: Callable[[], None],
    ) -> None:
        """`on_surplus` is told when the server sends more than it was asked for."""
        self._loop, self._most_bytes, self._memory, self._on_surplus = loop, most_bytes, memory, on_surplus
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Received] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._grace: asyncio.TimerHandle | None = None
        self._poll: select.poll | None = None
        self.usable = False
        self.released_at = self._last_at = loop.time()
        self._exchanges = 0
        self._received = self._body_bytes = 0
        self._share: Share | None = None
        self._kept_s = KEPT_ALIVE_S
        self._call = NOTHING
        self._tail = b""
        self._paused = False
        self._begin_message()

    def _begin_message(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._in_body = False
        self._ends_with_connection = True
        self._encodings = ""

    async def exchange(self, call: Call) -> Received:
        """Send a request and wait for its whole answer.

        Raises RemoteProtocolError (lost before an answer), NotReceived, Cut, TooLarge, ReadTimeout, TooSlow.
        """
        self._begin_message()
        self._received = self._body_bytes = 0
        self._call, self._tail = call, b""
        answer: asyncio.Future[Received] = self._loop.create_future()
        self._answer = answer
        now = self._last_at = self._loop.time()
        self._arm(now, min(now + call.silence_s, call.ends_at))
        self._size = self._unsent = len(call.head) + len(call.content)
        try:
            self._transport.writelines((call.head, call.content))
            return await answer
        except BaseException:
            self.close()
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                # Given up in the moment of its arrival.
                answer.result().body.release()
            raise
        finally:
            self._answer = None
            self._exchanges += 1
            self.released_at = self._loop.time()

    def is_reusable(self, now: float) -> bool:
        """Whether the other side is still likely to keep this connection, and has sent nothing since its last answer.

        What it sent may still lie in the kernel, unseen by the loop, and would then be read as the next answer.
        """
        if not self.usable or self._transport.is_closing() or now - self.released_at >= self._kept_s:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._file, select.POLLIN | select.POLLPRI)
        return not self._poll.poll(0)

    # Time limits: one timer serves many exchanges.

    def _arm(self, now: float, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = max(now, at)
        self._timer = self._loop.call_at(self._timer_at, self._check_time)

    def _check_time(self) -> None:
        """End an exchange in which nothing moved for its time limit, or that takes too long as a whole."""
        self._timer = None
        if self._answer is None:
            return
        now = self._loop.time()
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent, self._last_at = unsent, now
        if self._paused:
            # It is we who do not read.
            self._last_at = now
        silent_at = self._last_at + self._call.silence_s
        if now >= self._call.ends_at:
            self._fail(TooSlow("no whole answer in time"))
        elif now >= silent_at:
            self._fail(httpx.ReadTimeout(f"no byte for {self._call.silence_s:g} s"))
        else:
            self._arm(now, min(silent_at, self._call.ends_at))

    def close(self) -> None:
        """Drop the connection at once."""
        self.usable = False
        for timer in (self._timer, self._grace):
            if timer is not None:
                timer.cancel()
        self._timer = self._grace = None
        if self._share is not None:
            self._share.release()
            self._share = None
        self._transport.abort()

    def _fail(self, error: httpx.TransportError) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only like them.
        self._transport, self.usable = cast(asyncio.Transport, transport), True
        self._file = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self._refuse_surplus(data)
            return
        now = self._loop.time()
        if not self._received and self._exchanges and now - self._last_at < CROSSING_S and self._nothing_arrived():
            self._refuse_surplus(data)
            self._fail(httpx.RemoteProtocolError("an answer came before the request had arrived: it is another's"))
            return
        if not self._in_body or self._call.is_silence is None:
            self._last_at = now
        self._received += len(data)
        if self._received > (self._most_bytes if self._in_body else HEAD_MOST_BYTES + len(data)):
            if self._grace is not None:
                self._finish(keeps=False)
                return
            self._fail(TooLarge(f"more than {self._most_bytes:,} bytes (of a head: {HEAD_MOST_BYTES:,})"))
            return
        known = len(self._body)
        try:
            # The last byte apart: an answer that is complete without it is followed by a byte nobody asked for.
            if len(data) > 1:
                self._parser.feed_data(memoryview(data)[:-1])
            if self._answer.done():
                self._refuse_surplus(data[-1:])
                return
            self._parser.feed_data(data[-1:])
            if not self._answer.done() and len(self._body) > known:
                self._judge(b"".join(self._body[known:]), now)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._answer.done():
                self._refuse_surplus(data)
                return
            kind = Cut if self._in_body else httpx.RemoteProtocolError
            self._fail(kind(f"what came is not HTTP: {error}"))

    def _judge(self, body: bytes, now: float) -> None:
        """What more of an unfinished body says: that it brings something, that its stream has reached its own end."""
        call = self._call
        if call.is_silence is not None and not call.is_silence(body):
            self._last_at = now
        if call.is_complete is not None and self._grace is None:
            latest = self._tail + body
            self._tail = latest[-TAIL_BYTES:]
            if call.is_complete(latest):
                self._grace = self._loop.call_later(GRACE_S, self._finish_after_grace)

    def _refuse_surplus(self, data: bytes) -> None:
        """Bytes that belong to no request: they could be taken for the answer of the next row."""
        self.usable = False
        answer = self._answer
        # After a failure the rest of its own answer may still come.
        failed = answer is not None and answer.done() and (answer.cancelled() or answer.exception() is not None)
        if not failed and not data.startswith(FAREWELLS):
            self._on_surplus()
        if answer is None:
            self.close()

    def _nothing_arrived(self) -> bool:
        """Whether the server's kernel has not acknowledged one byte of the request.

        Whatever the server sends after the request reached it acknowledges the request. Where the kernel does not
        tell, only what was never written counts.
        """
        waiting = self._transport.get_write_buffer_size()
        if waiting < self._size and sys.platform == "linux":
            counted = ioctl(self._file, TIOCOUTQ, b"\0\0\0\0")
            waiting += int.from_bytes(counted, sys.byteorder)
        return waiting >= self._size

    def eof_received(self) -> None:
        self.usable = False
        if self._answer is not None and not self._received and self._exchanges and self._nothing_arrived():
            self._fail(NotReceived("the server had closed the connection before the request arrived"))

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        if self._answer is None or self._answer.done():
            return
        if self._grace is not None or (self._in_body and self._ends_with_connection and error is None):
            self._finish(keeps=False)
        elif self._received:
            self._fail(Cut("the connection was lost in the middle of an answer"))
        else:
            self._fail(httpx.RemoteProtocolError(f"the connection was lost{f': {error}' if error else ''}"))

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        lower = name.lower()
        if lower in (b"content-length", b"transfer-encoding"):
            self._ends_with_connection = False
        elif lower == b"content-encoding":
            self._encodings += f",{value.decode('latin-1')}"
        elif lower == b"keep-alive" and (told := _KEEP_ALIVE_TIMEOUT.search(value)):
            # A fifth of it is left for the way there.
            self._kept_s = min(KEPT_ALIVE_S, 0.8 * int(told[1]))

    def on_headers_complete(self) -> None:
        self._in_body = True
        if self._parser.get_status_code() in _BODILESS:
            self._ends_with_connection = False

    def on_body(self, body: bytes) -> None:
        if self._answer is None or self._answer.done():
            return
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > SMALL_BYTES:
            self._take_room(len(body))

    def _take_room(self, size: int) -> None:
        """Count a large body's bytes; where there is no room, read on once other bodies are released."""
        if self._share is None:
            self._share, size = Share(self._memory, self._read_on), self._body_bytes
        if not self._share.take(size) and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        self._paused, self._last_at = False, self._loop.time()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _finish_after_grace(self) -> None:
        self._grace = None
        self._finish(keeps=False)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            # "100 Continue" and its like announce the answer; they are not it. Their bytes still count.
            self._begin_message()
            return
        self._finish(keeps=self._parser.should_keep_alive() and not self._ends_with_connection)

    def _finish(self, *, keeps: bool) -> None:
        if self._answer is None or self._answer.done():
            return
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        content = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        share, self._share = self._share, None
        received = Received(self._parser.get_status_code(), self._headers, Body(content, self._encodings, share))
        # An answer that came before its request was sent leaves the rest of it in the way of the next.
        self.usable = self.usable and keeps and not self._paused and not self._transport.get_write_buffer_size()
        self._answer.set_result(received)
