"""Bodies: decoded size, time and memory are bounded, whatever a server sends; odd statuses and endings are understood."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.attempt import FailureKind
from rowmill.tasks.gateway.body import Body, BodyMemory, Share, TooLarge, decoded
from rowmill.tasks.gateway.client import Exchange
from rowmill.tasks.gateway.transport import Cut, TooSlow, Transport
from tests.gateway.large_bodies import BODIES, client_of, gzipped
from tests.gateway.raw_server import BODY, LOOPS, PLAIN, Say, Server, answer, ask, once, saying


def sent_to(say: Say, **options) -> Exchange:
    """One row's call to a server that answers like this."""

    async def scenario() -> Exchange:
        async with Server(say) as server:
            client = client_of(server.base_url, **options)
            try:
                return await client.send(b"{}")
            finally:
                await client.aclose()

    return asyncio.run(scenario())


def test_a_time_limit_of_the_whole_call_ends_a_drip():
    """An answer that comes a byte at a time, never silent for long, ends with the time of the whole call."""
    drip = saying(answer(b"x" * 1_000)[:60], *[b"x"] * 1_000, pause=0.01)
    with pytest.raises(TooSlow):
        once(drip, timeout_s=5, total_s=0.2)
    exchange = sent_to(drip, call_s=0.2)
    assert exchange.failure is not None
    assert exchange.failure.kind is FailureKind.TIMEOUT
    assert "limits.call_s" in exchange.failure.message


def test_comments_are_silence():
    """A stream that sends comments alone ends by the time limit of silence; one whose events come slowly does not."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    quiet = sent_to(saying(head, *[b": wait\n\n"] * 100, pause=0.02), stream=True, timeout_s=0.2)
    assert quiet.failure is not None
    assert quiet.failure.kind is FailureKind.TIMEOUT
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
    last = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    slow = sent_to(saying(head, *[b": wait\n\n", event] * 20, last, close=True, pause=0.05), stream=True, timeout_s=1.0)
    assert slow.answer is not None
    assert slow.answer.text == "a" * 20


def test_blank_lines_before_an_answer_are_silence():
    """A server that sends blank lines until it has an answer is not awaited for longer than one that sends nothing."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    quiet = sent_to(saying(head, *[b"\n"] * 100, pause=0.02), timeout_s=0.2)
    assert quiet.failure is not None
    assert quiet.failure.kind is FailureKind.TIMEOUT
    body = b'{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}'
    late = sent_to(saying(head, *[b"\n"] * 5, body, close=True, pause=0.02), timeout_s=2.0)
    assert late.answer is not None
    assert late.answer.text == "a"


def test_a_shorter_limit_counts_on_a_connection_that_had_a_longer_one():
    """The time limits of an exchange are its own, not those of the exchange before it on the same connection."""

    async def scenario() -> None:
        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            if number == 1:
                writer.write(PLAIN)

        async with Server(say) as server:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            await ask(transport, server.url, timeout_s=60, total_s=600)
            for limits in ({"timeout_s": 0.1}, {"total_s": 0.1}):
                async with asyncio.timeout(5):
                    with pytest.raises(httpx.ReadTimeout):
                        await ask(transport, server.url, **limits)
            await transport.aclose()

    asyncio.run(scenario())


def test_a_balance_that_drips_is_given_up(monkeypatch):
    """What is asked beside the rows, such as the balance, has a time limit of the whole."""
    monkeypatch.setattr("rowmill.tasks.gateway.client.GET_S", 0.2)

    async def scenario() -> bytes | None:
        async with Server(saying(answer(b"x" * 1_000)[:60], *[b"x"] * 1_000, pause=0.01)) as server:
            client = client_of(server.base_url)
            async with asyncio.timeout(5):
                told = await client.get("/v1/credits")
            await client.aclose()
            return told

    assert asyncio.run(scenario()) is None


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize(
    "headers", [b"", b"Content-Length: 12\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"]
)
def test_a_status_without_a_body_ends_with_its_head(status, headers, loop):
    """204 and 304 have no body, whatever their head announces; the connection may serve again."""

    async def scenario() -> None:
        async with Server(saying(b"HTTP/1.1 " + status + b"\r\n" + headers + b"\r\n")) as server:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            for _ in range(2):
                response = await ask(transport, server.url, timeout_s=1)
                assert (response.status_code, response.content) == (int(status[:3]), b"")
            assert server.connections == (2 if b"close" in headers else 1)
            await transport.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


def test_announcements_without_end_are_no_answer():
    """A server that announces for ever is given up once a head's worth of announcements came."""
    with pytest.raises(TooLarge):
        once(saying(*[b"HTTP/1.1 100 Continue\r\nX-Pad: %s\r\n\r\n" % (b"y" * 4_000)] * 100), timeout_s=2)


@pytest.mark.parametrize("status", [101, 199, 201, 204, 206, 300, 304, 418, 451, 499, 507, 599, 600, 999])
def test_any_status_is_a_failure_of_its_row(status):
    """No status that a gateway may send is more than a failure, with words."""
    head = b"HTTP/1.1 %d Odd\r\nContent-Length: 0\r\n\r\n" % status
    exchange = sent_to(saying(head), timeout_s=0.5)
    assert exchange.failure is not None
    assert exchange.failure.message


# Streams that tell their own end.

STREAM = b"data: {}\n\ndata: [DONE]\n\n"
CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(STREAM), STREAM)


def is_done(tail: bytes) -> bool:
    return b"data: [DONE]\n\n" in tail


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("head", "close"),
    [
        (CHUNK, False), (CHUNK, True), (b"HTTP/1.1 200 OK\r\n\r\n" + STREAM, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + STREAM, False),
    ],
)  # fmt: skip
def test_a_stream_that_told_its_end_is_not_waited_for(head, close, loop):
    """Once a stream has told its end, neither a connection that stays open nor one that breaks keeps its answer."""
    for pieces in ([head], [head[at : at + 7] for at in range(0, len(head), 7)]):
        response = once(saying(*pieces, close=close), loop=loop, timeout_s=10, is_complete=is_done)
        assert response.content == STREAM


def test_a_connection_is_kept_where_the_stream_and_its_message_end_together():
    """A stream that ends as HTTP asks is used again; one whose message never ended is not."""

    async def scenario(piece: bytes) -> int:
        async with Server(saying(piece)) as server:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            for _ in range(2):
                assert (await ask(transport, server.url, is_complete=is_done)).content == STREAM
            await transport.aclose()
            return server.connections

    assert asyncio.run(scenario(CHUNK + b"0\r\n\r\n")) == 1
    assert asyncio.run(scenario(CHUNK)) == 2


def test_a_stream_that_goes_on_after_its_end_is_cut_off():
    """What a server sends without end behind a stream's end does not hold the answer back, nor is it held."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + STREAM)
        for _ in range(10_000):
            writer.write(b"x" * 60_000)
            await writer.drain()

    response = once(say, most=200_000, is_complete=is_done)
    assert response.content.startswith(STREAM)
    assert len(response.content) < 1_000_000


# Encodings.


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzipped), ("x-gzip", gzipped), ("GZIP", gzipped), ("gzip, gzip", lambda c: gzipped(c, 2)),
        ("deflate", zlib.compress), ("deflate", raw_deflate), ("identity", bytes), ("identity, gzip", gzipped),
        ("br", lambda c: pa.compress(c, "brotli", asbytes=True)),
        ("zstd", lambda c: pa.compress(c, "zstd", asbytes=True)),
        ("gzip", lambda c: gzipped(c[:5]) + gzipped(c[5:]) + b"\0" * 512),
    ],
)  # fmt: skip
@given(content=st.binary(max_size=300))
def test_an_encoded_body_is_decoded(encoding, encode, content):
    """Whatever encoding a gateway uses unasked, the answer is read."""
    assert decoded(encode(content), encoding, 1_000) == content


@pytest.mark.parametrize(
    ("encoding", "content", "error"),
    [
        ("gzip", b"no gzip at all", httpx.DecodingError),
        ("gzip", gzipped(b"cut short" * 50)[:-9], httpx.DecodingError),
        ("gzip", gzipped(b"a") + b"garbage", httpx.DecodingError),
        ("gzip", gzipped(b"") * 2_000, httpx.DecodingError),
        ("deflate", b"\x01\x02", httpx.DecodingError),
        ("br", b"\xff\xff", httpx.DecodingError),
        ("zstd", b"\xff\xff", httpx.DecodingError),
        ("lzma", b"", httpx.DecodingError),
        (", ".join(["gzip"] * 1_000), b"", httpx.DecodingError),
        ("gzip", gzipped(b"x" * 2_000), TooLarge),
        ("gzip, gzip", gzipped(gzipped(b"") * 500), TooLarge),
        ("br", pa.compress(b"x" * 2_000, "brotli", asbytes=True), TooLarge),
    ],
)
def test_what_cannot_be_decoded_within_bounds_is_refused(encoding, content, error):
    """A body that is no such encoding, is cut, or grows beyond what is held at any step, is told as such."""
    with pytest.raises(error):
        decoded(content, encoding, 1_000)


@contextmanager
def served(name: str) -> Iterator[int]:
    """The port of a process that answers with a large body: here its work would be seen as a stall."""
    program = [sys.executable, "-m", "tests.gateway.large_bodies"]
    with subprocess.Popen([*program, "serve", name], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


@pytest.mark.parametrize("name", BODIES)
def test_a_call_survives_any_body_and_the_loop_goes_on(name):
    """A bomb or a large body is its row's failure at most; meanwhile the loop serves the other calls."""
    longest_stall_s = 0.0

    async def scenario(port: int) -> Exchange:
        nonlocal longest_stall_s
        client = client_of(f"http://127.0.0.1:{port}")
        sending = asyncio.create_task(client.send(b"{}"))
        while not sending.done():
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest_stall_s = max(longest_stall_s, time.perf_counter() - before)
        await client.aclose()
        return await sending

    with served(name) as port:
        exchange = asyncio.run(scenario(port))
    assert (exchange.failure.kind.value if exchange.failure else "ok") == BODIES[name][2]
    # A bound of the kind, not of the machine: what was decoded on the loop took seconds.
    assert longest_stall_s < 0.5


# Memory.


@given(st.data())
def test_the_room_of_all_bodies_is_bounded_and_every_body_arrives(data):
    """However bodies grow beside each other, what is held stays below the room + one body + a piece each; none starves."""
    room, piece = 100, 10
    memory = BodyMemory(room)
    sizes = data.draw(st.lists(st.integers(1, 120), min_size=1, max_size=8))
    paused: set[int] = set()
    shares = [Share(memory, lambda number=number: paused.discard(number)) for number in range(len(sizes))]
    left, most = dict(enumerate(sizes)), 0
    while left:
        reading = sorted(set(left) - paused)
        assert reading, "all wait for each other"
        number = data.draw(st.sampled_from(reading))
        size = min(piece, left[number])
        left[number] -= size
        if not shares[number].take(size):
            paused.add(number)
        most = max(most, sum(share.size for share in shares))
        # A body that is whole is released by its reader; one that fails before, too.
        if left[number] == 0 or data.draw(st.integers(0, 20)) == 0:
            del left[number]
            paused.discard(number)
            shares[number].release()
    assert most <= room + max(sizes) + piece * len(sizes)
    assert sum(share.size for share in shares) == 0


@pytest.mark.parametrize("name", ["48 MB of objects", "50 MB of text", "20 gigabytes", "three times"])
def test_memory_is_bounded_however_many_large_bodies_are_in_flight(name):
    """Sixteen large answers at once take turns: the memory of a process stays that of a few."""
    with served(name) as port:
        program = [sys.executable, "-m", "tests.gateway.large_bodies", "call", str(port), "16"]
        done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["outcomes"] == {BODIES[name][2]: 16}
    assert seen["peak_mb"] < 700


def test_a_body_gives_its_room_back_once():
    """A released body frees its share, and releasing it again frees nothing more."""
    memory = BodyMemory(10)
    share = Share(memory, lambda: None)
    share.take(8)
    body = Body(b"12345678", share=share)
    body.release()
    body.release()
    other = Share(memory, lambda: None)
    assert other.take(10)
    third = Share(memory, lambda: None)
    assert third.take(1), "one body may go on beyond the room"
    assert not Share(memory, lambda: None).take(1)


def test_a_call_given_up_frees_its_room(monkeypatch):
    """Cancelled in the middle of a large body, a call leaves the whole room to the others."""

    async def scenario() -> None:
        started = asyncio.Event()

        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            whole = answer(b"x" * 900_000)
            writer.write(whole if number > 4 else whole[:-1])
            started.set()

        async with Server(say) as server:
            transport = Transport(most_bytes=1 << 20, memory_bytes=100_000)
            for _ in range(4):
                call = asyncio.create_task(ask(transport, server.url))
                await started.wait()
                await asyncio.sleep(0.02)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            responses = await asyncio.gather(*(ask(transport, server.url, timeout_s=2) for _ in range(3)))
            assert [len(response.content) for response in responses] == [900_000] * 3
            await transport.aclose()

    asyncio.run(scenario())


def test_a_cut_answer_stays_a_cut_answer():
    """Without a stream's own end an answer that breaks off is told as cut."""
    with pytest.raises(Cut):
        once(saying(CHUNK.replace(b"[DONE]", b"{}    "), close=True), is_complete=is_done)
    assert once(saying(PLAIN), is_complete=is_done).content == BODY
