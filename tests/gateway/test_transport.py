"""The transport against a real loopback server that says any bytes: whole answers, cut ones, none, and TLS."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from rowmill.tasks.gateway.transport import RESTING_MOST, Cut, TooLarge, Transport
from tests.gateway.certificates import certificate
from tests.gateway.raw_server import BODY, LOOPS, PLAIN, Server, ask, once, saying, server_tls

CHUNKED = (
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Name: a\r\n\r\n6\r\n{"n": \r\n6;note=1\r\n[1,2]}\r\n0\r\n\r\n'
)
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + BODY


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("answer", "close"), [(PLAIN, False), (CHUNKED, False), (UNTIL_CLOSE, True), (PLAIN, True)])
def test_an_answer_is_the_same_in_any_pieces(answer, close, loop):
    """Whole, byte by byte, with a length, in chunks or until the connection closes: the same answer."""
    for told in ([answer], [answer[at : at + 1] for at in range(len(answer))]):
        response = once(saying(*told, close=close), loop=loop)
        assert (response.status_code, response.content) == (200, BODY)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("answer", [PLAIN, CHUNKED])
def test_an_answer_cut_at_any_byte_is_no_answer(answer, loop):
    """A connection that ends inside an answer is told as cut, one that ends before it as lost; never as an answer."""
    for at in range(len(answer)):
        with pytest.raises(Cut if at else httpx.RemoteProtocolError):
            once(saying(answer[:at], close=True), loop=loop)


def test_what_announces_an_answer_is_not_taken_for_it():
    """ "100 Continue" and early hints come before the answer."""
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert once(saying(early + PLAIN)).content == BODY


@pytest.mark.parametrize(
    "told",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(told):
    """Bytes that are no HTTP answer end the exchange."""
    with pytest.raises((httpx.RemoteProtocolError, Cut)):
        once(saying(told, close=True))


def test_a_bad_chunk_is_a_cut_answer():
    """An answer that stops speaking HTTP in its middle is told as cut."""
    with pytest.raises(Cut):
        once(saying(CHUNKED.replace(b"6;note=1", b"zz")))


def test_silence_ends_by_its_time_limit_and_a_trickle_does_not():
    """The time limit is of silence: an answer that keeps coming may take longer."""
    with pytest.raises(httpx.ReadTimeout):
        once(saying(PLAIN[:40]), timeout_s=0.2)
    assert (
        once(saying(*[PLAIN[at : at + 8] for at in range(0, len(PLAIN), 8)], pause=0.05), timeout_s=0.3).content == BODY
    )


def test_what_is_too_large_is_given_up():
    """A head or a body larger than is held ends the exchange."""
    with pytest.raises(TooLarge):
        once(
            saying(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", b"x" * 70_000, b"x" * 70_000, pause=0.02),
            most=65_536,
        )
    with pytest.raises(TooLarge):
        once(saying(b"HTTP/1.1 200 OK\r\n", *[b"X-Pad: " + b"y" * 30_000 + b"\r\n"] * 6, pause=0.02))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("calls", [150, 700])
def test_connections_are_as_many_as_the_calls_in_flight(calls, loop):
    """So many calls at once have so many connections; no hidden limit holds any back, and only a few more ever rest."""

    async def scenario() -> None:
        everyone = asyncio.Event()

        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            if number == calls:
                everyone.set()
            await everyone.wait()
            writer.write(PLAIN)

        async with Server(say) as server:
            transport = Transport(most_bytes=1 << 20)
            await asyncio.wait_for(
                asyncio.gather(*(ask(transport, server.url, timeout_s=20) for _ in range(calls))), 30
            )
            assert server.most_open == server.connections == calls
            await asyncio.gather(*(ask(transport, server.url) for _ in range(calls)))
            assert calls <= server.connections <= calls + RESTING_MOST
            await transport.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


def test_a_cancelled_call_takes_its_connection_with_it():
    """A call given up while its answer is awaited leaves no connection on which that answer could come later."""

    async def scenario() -> None:
        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            await asyncio.sleep(0.1 if number == 1 else 0)
            writer.write(PLAIN.replace(b"[1,2]", b"[%d,9]" % number))

        async with Server(say) as server:
            transport = Transport(most_bytes=1 << 20)
            first = asyncio.create_task(ask(transport, server.url))
            await asyncio.sleep(0.03)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await ask(transport, server.url)).content == b'{"n": [2,9]}'
            assert server.connections == 2

    asyncio.run(scenario())


def test_a_request_is_sent_as_it_was_meant():
    """Method, target, headers and length go over the wire; a header with a line break is refused."""

    async def scenario() -> bytes:
        async with Server(saying(PLAIN)) as server:
            transport = Transport(most_bytes=1 << 20)
            await ask(transport, server.url, b'{"a": 1}')
            with pytest.raises(httpx.LocalProtocolError):
                await transport.handle_async_request(
                    httpx.Request(
                        "GET", server.url, headers={"x": "a\r\nb: c"}, extensions={"timeout": {"connect": 1, "read": 1}}
                    )
                )
            return server.seen[0]

    head, _, body = asyncio.run(scenario()).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/x?y=1 HTTP/1.1"
    assert b"content-length: 8" in lines
    assert b"authorization: Bearer sk-x" in [line.lower().replace(b"bearer", b"Bearer") for line in lines]
    assert body == b'{"a": 1}'


def test_an_unreachable_address_is_told():
    """Nobody listening, and a name that does not exist, are connection errors."""

    async def scenario(url: str) -> None:
        await ask(Transport(most_bytes=1), url)

    for url in ("http://127.0.0.1:1/x", "http://no-such-host.invalid/x", f"http://{'a' * 70}.invalid/x"):
        with pytest.raises(httpx.ConnectError):
            asyncio.run(scenario(url))


@pytest.mark.parametrize("loop", LOOPS)
def test_https_is_spoken_and_its_certificate_checked(tmp_path, monkeypatch, loop):
    """An https gateway is answered over TLS; a certificate nobody vouches for, or for another host, is refused."""

    async def scenario(*, trusted: bool, host: str) -> bytes:
        public, private = certificate(host)
        (tmp_path / "cert.pem").write_bytes(public)
        (tmp_path / "key.pem").write_bytes(private)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem")) if trusted else monkeypatch.delenv(
            "SSL_CERT_FILE", raising=False
        )
        async with Server(saying(PLAIN), ssl=server_tls(tmp_path)) as server:
            transport = Transport(most_bytes=1 << 20, rest_s=0)
            try:
                await ask(transport, server.url)
                content = (await ask(transport, server.url)).content
                assert server.connections == 1
                return content
            finally:
                await transport.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(scenario(trusted=True, host="127.0.0.1")) == BODY
        for case in ({"trusted": False, "host": "127.0.0.1"}, {"trusted": True, "host": "127.0.0.2"}):
            with pytest.raises(httpx.ConnectError):
                runner.run(scenario(**case))
