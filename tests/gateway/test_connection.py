"""Answers and their requests: whatever a server sends beyond what it was asked for, no row gets another row's answer."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import ClassVar

import httpx
import pytest

from rowmill.tasks.gateway.body import BodyMemory
from rowmill.tasks.gateway.connection import KEPT_ALIVE_S, Call, Connection
from rowmill.tasks.gateway.transport import REST_S, RESTING_MOST, Transport
from tests.gateway.raw_server import BODY, LOOPS, PLAIN, Server, answer, ask, saying

STRAY = answer(b"stray")


def run(scenario, loop=asyncio.new_event_loop):
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(scenario)


async def ask_rows(transport: Transport, server: Server, rows: int, at_once: int) -> list[tuple[int, int]]:
    """Each row's number, and the one that its answer names."""
    slots = asyncio.Semaphore(at_once)

    async def ask_row(number: int) -> tuple[int, int]:
        async with slots:
            response = await ask(transport, server.url, json.dumps({"row": number}).encode())
            return number, response.json()["row"]

    return await asyncio.gather(*(ask_row(number) for number in range(rows)))


class Twice:
    """Answers with the request's own body, and every so often a second time, so much later."""

    def __init__(self, late_s: float, every: int) -> None:
        self.late_s, self.every = late_s, every
        self.server: Server | None = None
        self.later: set[asyncio.Task[None]] = set()

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        assert self.server is not None
        content = answer(self.server.seen[-1].partition(b"\r\n\r\n")[2])
        if number % self.every:
            writer.write(content)
        elif self.late_s:
            writer.write(content)
            self.later.add(asyncio.create_task(self._again(writer, content)))
        else:
            writer.write(content + content)

    async def _again(self, writer: asyncio.StreamWriter, content: bytes) -> None:
        await asyncio.sleep(self.late_s)
        if not writer.is_closing():
            writer.write(content)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("late_s", [0.0, 0.0005, 0.005, 0.05])
@pytest.mark.parametrize(("at_once", "every"), [(1, 1), (1, 3), (4, 1), (4, 3), (30, 2)])
def test_a_second_answer_never_becomes_the_next_rows(at_once, every, late_s, loop):
    """Where a server answers twice, in one piece or later, each of 60 rows has its own answer all the same."""

    async def scenario() -> None:
        twice = Twice(late_s, every)
        async with Server(twice) as server:
            twice.server = server
            # What is late on a busy machine is later than it was meant.
            transport = Transport(most_bytes=1 << 20, rest_s=max(REST_S, 20 * late_s))
            pairs = await ask_rows(transport, server, 60, at_once)
            await transport.aclose()
            assert [pair for pair in pairs if pair[0] != pair[1]] == []

    run(scenario(), loop)


@pytest.mark.parametrize("surplus", [b"x", b"\r\n", b"\n", STRAY, STRAY[:20], b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
@pytest.mark.parametrize("pause", [0.0, 0.02])
def test_a_byte_that_nobody_asked_for_ends_its_connection(surplus, pause):
    """One byte beyond an answer, in the same piece or after it, and the connection is not used again; the answer stands."""

    async def scenario() -> None:
        pieces = (PLAIN, surplus) if pause else (PLAIN + surplus,)
        async with Server(saying(*pieces, pause=pause)) as server:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            for _ in range(3):
                assert (await ask(transport, server.url)).content == BODY
                await asyncio.sleep(3 * pause)
            await transport.aclose()
            assert server.connections == 3

    run(scenario())


def test_a_surplus_byte_is_seen_though_the_loop_had_no_time_to_read_it():
    """What lies unread in the kernel when a connection is to be used again ends it."""

    async def scenario() -> None:
        ends: list[socket.socket] = []

        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
            ends.append(socket.fromfd(writer.get_extra_info("socket").fileno(), socket.AF_INET, socket.SOCK_STREAM))
            writer.write(PLAIN)

        async with Server(say) as server:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            assert (await ask(transport, server.url)).content == BODY
            # Sent and asked within one turn of the loop.
            ends[0].send(STRAY)
            assert (await ask(transport, server.url)).content == BODY
            await transport.aclose()
            assert server.connections == 2
        for end in ends:
            end.close()

    run(scenario())


def test_a_server_that_was_caught_once_is_given_one_request_a_connection(caplog):
    """After a surplus answer no connection to that server is kept, and one warning says so."""

    async def scenario() -> int:
        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            writer.write(PLAIN + STRAY if number == 2 else PLAIN)

        async with Server(say) as server:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            for _ in range(6):
                assert (await ask(transport, server.url)).content == BODY
            await transport.aclose()
            return server.connections

    assert run(scenario()) == 5
    assert len(caplog.records) == 1


def test_a_farewell_on_an_idle_connection_is_no_reason_for_distrust(caplog):
    """A server that says 408 to a connection it waited on for too long is spoken to again as before."""

    async def scenario() -> int:
        farewell = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"

        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            writer.write(PLAIN)
            if number == 1:
                await asyncio.sleep(0.02)
                writer.write(farewell)
                writer.close()

        async with Server(say) as server:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            for _ in range(4):
                assert (await ask(transport, server.url)).content == BODY
                await asyncio.sleep(0.05)
            await transport.aclose()
            return server.connections

    assert run(scenario()) == 2
    assert not caplog.records


class Deaf:
    """A server whose kernel takes no byte beyond the first request's beginning: what comes after stays with the client."""

    async def __aenter__(self) -> Deaf:
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen()
        self._listening.setblocking(False)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/x"
        return self

    async def accept(self) -> socket.socket:
        taken, _ = await asyncio.get_running_loop().sock_accept(self._listening)
        return taken

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()


async def _fill(deaf: Deaf, transport: Transport) -> socket.socket:
    """A first exchange that leaves the server's kernel no room for a second request."""
    first = asyncio.create_task(ask(transport, deaf.url, b"x" * 200_000))
    taken = await deaf.accept()
    await asyncio.sleep(0.05)
    # Read until the client's own kernel holds the rest, and no further.
    while _unwritten(transport):
        await asyncio.get_running_loop().sock_recv(taken, 1_024)
        await asyncio.sleep(0)
    await asyncio.get_running_loop().sock_sendall(taken, PLAIN)
    assert (await first).content == BODY
    return taken


def _unwritten(transport: Transport) -> int:
    return max(one.get_write_buffer_size() for one in _Watched.transports)


class _Watched:
    transports: ClassVar[list[asyncio.Transport]] = []


@pytest.fixture
def watched(monkeypatch):
    """The asyncio transports of the connections that are made."""
    made = Connection.connection_made

    def connection_made(self, transport):
        _Watched.transports.append(transport)
        made(self, transport)

    monkeypatch.setattr(Connection, "connection_made", connection_made)
    monkeypatch.setattr(_Watched, "transports", [])


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_sent_before_the_request_arrived_is_not_taken_for_its_answer(loop, watched):
    """A second answer and the next request may pass each other on the way: the kernel tells that the server has not had it."""

    async def scenario() -> None:
        async with Deaf() as deaf:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            taken = await _fill(deaf, transport)
            second = asyncio.create_task(ask(transport, deaf.url))
            await asyncio.sleep(0.05)
            await asyncio.get_running_loop().sock_sendall(taken, STRAY)
            with pytest.raises(httpx.RemoteProtocolError, match="another's"):
                await second
            await transport.aclose()
            taken.close()

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_that_met_a_closed_connection_is_sent_once_more(loop, watched):
    """Where the server ended the connection before a byte of the request arrived, it goes out again on a new one."""

    async def scenario() -> None:
        async with Deaf() as deaf:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            taken = await _fill(deaf, transport)
            second = asyncio.create_task(ask(transport, deaf.url, b'{"second": 1}'))
            await asyncio.sleep(0.05)
            taken.shutdown(socket.SHUT_WR)
            fresh = await deaf.accept()
            seen = await asyncio.get_running_loop().sock_recv(fresh, 4_096)
            assert seen.endswith(b'{"second": 1}')
            await asyncio.get_running_loop().sock_sendall(fresh, PLAIN)
            assert (await second).content == BODY
            await transport.aclose()
            for one in (taken, fresh):
                one.close()

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("reset", [False, True])
def test_a_request_that_may_have_been_read_is_never_sent_again(reset, loop):
    """A connection that ends after the request arrived, closed or reset, is a failure: it may have been answered."""

    async def scenario() -> int:
        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            if number == 2:
                if reset:
                    linger = b"\x01\0\0\0\0\0\0\0"
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.close()
            else:
                writer.write(PLAIN)

        async with Server(say) as server:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            assert (await ask(transport, server.url)).content == BODY
            with pytest.raises(httpx.RemoteProtocolError):
                await ask(transport, server.url)
            await transport.aclose()
            return server.requests

    assert run(scenario(), loop) == 2


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_closes_what_it_said_it_would_keep_costs_no_call(loop):
    """Each of 40 answers is followed by the connection's end, though none says so: all arrive, each asked for once."""

    async def scenario() -> int:
        async with Server(saying(PLAIN, close=True)) as server:
            transport = Transport(most_bytes=1 << 20)
            for _ in range(40):
                assert (await ask(transport, server.url)).content == BODY
            await transport.aclose()
            return server.requests

    assert run(scenario(), loop) == 40


@pytest.mark.parametrize(
    ("header", "kept_s"),
    [
        (b"Keep-Alive: timeout=5, max=1000", 4.0), (b"keep-alive: max=7, TIMEOUT = 10", 8.0),
        (b"Keep-Alive: timeout=600", KEPT_ALIVE_S), (b"Keep-Alive: timeout=0", 0.0), (b"Keep-Alive: x", KEPT_ALIVE_S),
        (b"X: timeout=1", KEPT_ALIVE_S),
    ],
)  # fmt: skip
def test_a_connection_is_kept_no_longer_than_the_server_keeps_it(header, kept_s):
    """`Keep-Alive: timeout=` bounds how long a free connection is used again, with a fifth of it to spare."""

    async def scenario() -> None:
        async with Server(saying(answer(BODY, header))) as server:
            loop = asyncio.get_running_loop()
            connection = await _connected(server)
            await connection.exchange(_call(loop.time))
            assert not connection.is_reusable(connection.released_at + kept_s)
            assert not kept_s or connection.is_reusable(connection.released_at + 0.99 * kept_s)
            connection.close()

    run(scenario())


async def _connected(server: Server) -> Connection:
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        return Connection(loop, most_bytes=1 << 20, memory=BodyMemory(1 << 20), on_surplus=lambda: None)

    _, connection = await loop.create_connection(make, "127.0.0.1", server.port)
    return connection


def _call(now: Callable[[], float]) -> Call:
    return Call(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", b"", 5.0, now() + 5.0)


def test_connections_are_used_again_once_they_have_rested():
    """A connection serves again after its rest; until then another is opened, but never more than a few."""

    async def scenario() -> None:
        async with Server(saying(PLAIN)) as server:
            transport = Transport(most_bytes=1 << 20, rest_s=0.05)
            for _ in range(3):
                await ask(transport, server.url)
            assert server.connections == 3
            await asyncio.sleep(0.06)
            for _ in range(3):
                await ask(transport, server.url)
            assert server.connections == 3
            await transport.aclose()

            transport = Transport(most_bytes=1 << 20, rest_s=60)
            for _ in range(RESTING_MOST + 50):
                await ask(transport, server.url)
            assert server.connections == 3 + RESTING_MOST
            await transport.aclose()

    run(scenario())
