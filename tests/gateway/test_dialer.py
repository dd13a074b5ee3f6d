"""The way to the gateway: proxies, certificates, names and addresses, redirects."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections import Counter

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.errors import JobError
from rowmill.tasks.gateway.client import Exchange
from rowmill.tasks.gateway.credentials import SANDBOX_KEY
from rowmill.tasks.gateway.dialer import tls_context
from rowmill.tasks.gateway.proxies import Proxies
from rowmill.tasks.gateway.transport import Transport
from tests.gateway.certificates import certificate
from tests.gateway.large_bodies import COMPLETION, client_of
from tests.gateway.raw_server import BODY, LOOPS, PLAIN, Server, answer, ask, saying, server_tls

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """No proxy and no certificates but those that a test names."""
    for name in (*PROXY_VARIABLES, "CURL_CA_BUNDLE", "SSL_CERT_DIR", "ROWMILL_CLIENT_CERT", "ROWMILL_CLIENT_KEY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class ProxyServer:
    """An HTTP proxy: forwards requests, opens tunnels, and notes what it was asked."""

    def __init__(self, *, answer_connect: bytes | None = None, user: str | None = None, **options) -> None:
        self.heads: list[bytes] = []
        self._answer_connect, self._user, self._options = answer_connect, user, options

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                method, target, _ = head.split(b"\r\n")[0].split(b" ")
                expected = b"proxy-authorization: Basic " + base64.b64encode((self._user or "").encode())
                if self._user and expected not in head:
                    writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                elif method == b"CONNECT":
                    if self._answer_connect is not None:
                        writer.write(self._answer_connect)
                        await writer.drain()
                        return
                    host, port = target.decode().rsplit(":", 1)
                    up_reader, up_writer = await asyncio.open_connection(host, int(port))
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    await asyncio.gather(self._pass(reader, up_writer), self._pass(up_reader, writer))
                    return
                else:
                    url = httpx.URL(target.decode())
                    up_reader, up_writer = await asyncio.open_connection(url.host, url.port)
                    up_writer.write(head.replace(target, url.raw_path))
                    asyncio.create_task(self._pass(reader, up_writer))  # noqa: RUF006
                    await self._pass(up_reader, writer)
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def __aenter__(self) -> ProxyServer:
        self._server = await asyncio.start_server(self.serve, "127.0.0.1", 0, **self._options)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


@pytest.fixture
def trusted(tmp_path, monkeypatch):
    """A folder with a certificate that is trusted, for 127.0.0.1."""
    public, private = certificate("127.0.0.1")
    (tmp_path / "cert.pem").write_bytes(public)
    (tmp_path / "key.pem").write_bytes(private)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    return tmp_path


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("user", [None, "me:p@ss w%rd"])
@pytest.mark.parametrize(
    ("to_gateway", "to_proxy"), [("http", "http"), ("https", "http"), ("http", "https"), ("https", "https")]
)
def test_a_proxy_stands_between(to_gateway, to_proxy, user, loop, trusted, monkeypatch):
    """With a proxy set, every call goes through it, over http or in a tunnel, with its user; the key stays out of CONNECT."""
    tls = server_tls(trusted)

    async def scenario() -> None:
        over = {"ssl": tls}
        async with (
            Server(saying(answer(COMPLETION)), **(over if to_gateway == "https" else {})) as server,
            ProxyServer(user=user, **(over if to_proxy == "https" else {})) as proxy,
        ):
            login = f"{user.replace('@', '%40').replace(' ', '%20').replace('%r', '%25r')}@" if user else ""
            monkeypatch.setenv(f"{to_gateway.upper()}_PROXY", f"{to_proxy}://{login}{proxy.address}")
            client = client_of(server.base_url)
            for _ in range(3):
                exchange = await client.send(b'{"row": 1}')
                assert exchange.failure is None, exchange.failure
            await client.aclose()
            assert server.requests == 3
            assert b"proxy-authorization" not in server.seen[0] or to_gateway == "http"
            assert b"authorization: bearer sk-" in server.seen[0].lower()
            if to_gateway == "https":
                assert proxy.heads[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % server.port)
                assert b"sk-" not in b"".join(proxy.heads)
            else:
                assert proxy.heads[0].startswith(b"POST http://127.0.0.1:%d/v1/" % server.port)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


def call_through(address: str, monkeypatch, *, scheme: str = "http") -> Exchange:
    async def scenario() -> Exchange:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", address)
        client = client_of(f"{scheme}://127.0.0.1:9", timeout_s=2.0)
        exchange = await client.send(b"{}")
        await client.aclose()
        return exchange

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"), (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "200"), (b"hello\r\n\r\n", "not HTTP"), (b"", "closed"), (b"x" * 100_000, "not HTTP"),
    ],
)  # fmt: skip
def test_a_proxy_that_opens_no_way_is_told(told, words, monkeypatch):
    """A proxy that refuses, or speaks nonsense, is a gateway that cannot be reached; its password is not shown."""

    async def scenario() -> Exchange:
        async with ProxyServer(answer_connect=told) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@{proxy.address}")
            client = client_of("https://gateway.invalid", timeout_s=2.0)
            exchange = await client.send(b"{}")
            await client.aclose()
            assert exchange.failure is not None
            assert proxy.address in exchange.failure.message
            return exchange

    failure = asyncio.run(scenario()).failure
    assert failure is not None
    assert failure.kind is FailureKind.UNREACHABLE
    assert words in failure.message
    assert "hunter2" not in failure.message


def test_a_proxy_that_wants_a_user_is_told(monkeypatch):
    """407 to a plain request is the proxy's, not the gateway's word about the row."""

    async def scenario() -> Exchange:
        async with ProxyServer(user="me:x") as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://me:wrong-word@{proxy.address}")
            client = client_of("http://127.0.0.1:9", timeout_s=2.0)
            exchange = await client.send(b"{}")
            await client.aclose()
            return exchange

    failure = asyncio.run(scenario()).failure
    assert failure is not None
    assert failure.kind is FailureKind.UNREACHABLE
    assert "407" in failure.message
    assert "wrong-word" not in failure.message


@pytest.mark.parametrize(
    ("environment", "url", "proxied"),
    [
        ({}, "http://a.example/", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://a.example/", "http://p:1"),
        ({"http_proxy": "q:2", "HTTP_PROXY": "http://p:1"}, "http://a.example/", "http://q:2"),
        ({"http_proxy": " ", "HTTP_PROXY": "http://p:1"}, "http://a.example/", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "https://a.example/", None),
        ({"HTTPS_PROXY": "http://p"}, "https://a.example/", "http://p:80"),
        ({"HTTPS_PROXY": "https://p"}, "https://a.example/", "https://p:443"),
        ({"ALL_PROXY": "http://p:1"}, "https://a.example/", "http://p:1"),
        *(
            ({"HTTP_PROXY": "http://p:1", "NO_PROXY": excluded}, url, None if direct else "http://p:1")
            for excluded, url, direct in [
                ("*", "http://a.example/", True), ("a.example", "http://a.example/", True),
                (".example", "http://a.example/", True), ("example", "http://a.example/", True),
                ("x, A.EXAMPLE", "http://a.example/", True), ("*.example", "http://a.example/", True),
                ("ample", "http://a.example/", False), ("b.a.example", "http://a.example/", False),
                ("a.example:80", "http://a.example/", True), ("a.example:81", "http://a.example/", False),
                ("a.example:8080", "http://a.example:8080/", True), ("127.0.0.1", "http://127.0.0.1:9/", True),
                ("127.0.0.0/8", "http://127.1.2.3/", True), ("10.0.0.0/8", "http://127.1.2.3/", False),
                ("::1", "http://[::1]:80/", True), ("[::1]:81", "http://[::1]:80/", False),
                ("localhost,127.0.0.1", "http://127.0.0.2/", False), ("", "http://a.example/", False),
                (",", "http://a.example/", False), ("localhost", "http://localhost:3/", True),
            ]
        ),
    ],
)  # fmt: skip
def test_which_addresses_a_proxy_serves(environment, url, proxied):
    """The environment's names, in either case, and NO_PROXY by name, domain, address, network and port."""
    proxy = Proxies(environment).of(httpx.URL(url))
    assert (repr(proxy) if proxy else None) == proxied


@pytest.mark.parametrize(
    "address", ["socks5://me:hunter2@p:1", "http://", "http://me:hunter2@", "http://p:port", "ftp://p", "://"]
)
def test_a_proxy_that_cannot_be_used_is_refused(address):
    """Nothing is sent past a proxy that was asked for; the refusal names the variable and shows no password."""
    with pytest.raises(JobError, match="HTTPS_PROXY") as refused:
        Proxies({"HTTPS_PROXY": address})
    assert "hunter2" not in str(refused.value)


@given(st.text(), st.text())
def test_any_words_for_a_proxy_are_taken_or_refused(address, excluded):
    """No environment is a traceback."""
    try:
        Proxies({"HTTP_PROXY": address, "NO_PROXY": excluded}).of(httpx.URL("http://a.example/"))
    except JobError as refused:
        assert refused.hint


def test_the_sandbox_of_a_command_is_reached_directly(monkeypatch):
    """A sandbox that a command starts for itself is on this machine, whatever proxy there is."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    async def scenario() -> Exchange:
        async with Server(saying(answer(COMPLETION))) as server:
            client = client_of(server.base_url, api_key=SANDBOX_KEY)
            exchange = await client.send(b"{}")
            await client.aclose()
            return exchange

    assert asyncio.run(scenario()).failure is None


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_ones_own_are_trusted(variable, trusted, monkeypatch):
    """Each of the usual variables names who is trusted; what cannot be read is refused, naming the variable."""
    monkeypatch.delenv("SSL_CERT_FILE")

    async def scenario() -> FailureKind | None:
        async with Server(saying(answer(COMPLETION)), ssl=server_tls(trusted)) as server:
            client = client_of(server.base_url)
            exchange = await client.send(b"{}")
            await client.aclose()
            return exchange.failure.kind if exchange.failure else None

    assert asyncio.run(scenario()) is FailureKind.UNTRUSTED_CERTIFICATE
    monkeypatch.setenv(variable, str(trusted / "cert.pem"))
    assert asyncio.run(scenario()) is None
    for wrong in (trusted / "none.pem", trusted / "key.pem"):
        with pytest.raises(JobError, match=variable):
            tls_context({variable: str(wrong)})


def test_a_client_certificate_is_shown_to_a_server_that_asks(trusted, monkeypatch):
    """With its key in the same file or apart; without one such a server does not answer."""

    async def scenario() -> FailureKind | None:
        asking = server_tls(trusted)
        asking.verify_mode = ssl.CERT_REQUIRED
        asking.load_verify_locations(trusted / "cert.pem")
        async with Server(saying(answer(COMPLETION)), ssl=asking) as server:
            client = client_of(server.base_url)
            exchange = await client.send(b"{}")
            await client.aclose()
            return exchange.failure.kind if exchange.failure else None

    both = trusted / "both.pem"
    both.write_bytes((trusted / "cert.pem").read_bytes() + (trusted / "key.pem").read_bytes())
    assert asyncio.run(scenario()) is not None
    monkeypatch.setenv("ROWMILL_CLIENT_CERT", str(both))
    assert asyncio.run(scenario()) is None
    monkeypatch.setenv("ROWMILL_CLIENT_CERT", str(trusted / "cert.pem"))
    monkeypatch.setenv("ROWMILL_CLIENT_KEY", str(trusted / "key.pem"))
    assert asyncio.run(scenario()) is None


def test_a_client_certificate_that_cannot_be_read_is_refused(trusted):
    """A file that is missing, that holds no key, whose key has a passphrase, and a key alone, naming the variable."""
    key = load_pem_private_key((trusted / "key.pem").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (trusted / "locked.pem").write_bytes(locked)
    certificate = str(trusted / "cert.pem")
    for environment, variable in (
        ({"ROWMILL_CLIENT_CERT": str(trusted / "none.pem")}, "ROWMILL_CLIENT_CERT"),
        ({"ROWMILL_CLIENT_CERT": certificate}, "ROWMILL_CLIENT_CERT"),
        (
            {"ROWMILL_CLIENT_CERT": certificate, "ROWMILL_CLIENT_KEY": str(trusted / "locked.pem")},
            "ROWMILL_CLIENT_CERT",
        ),
        ({"ROWMILL_CLIENT_KEY": str(trusted / "key.pem")}, "ROWMILL_CLIENT_KEY"),
        ({"SSL_CERT_DIR": certificate}, "SSL_CERT_DIR"),
    ):
        with pytest.raises(JobError, match=variable):
            tls_context(environment)


@pytest.mark.parametrize("loop", LOOPS)
def test_one_look_up_serves_every_connection_and_a_dead_address_none(loop, monkeypatch):
    """Fifty calls at once to a name look it up once; an address that takes no connection is passed over, once."""
    looked_up = Counter[str]()
    tried = Counter[str]()

    async def scenario() -> None:
        running = asyncio.get_running_loop()
        connect, look_up = running.sock_connect, socket.getaddrinfo

        def getaddrinfo(host, port, *args, **options):
            if host == "gateway.test" and not options.get("flags"):
                looked_up[host] += 1
                one = look_up("127.0.0.1", port, type=socket.SOCK_STREAM)[0]
                return [(*one[:4], ("127.0.0.9", port)), one]
            return look_up(host, port, *args, **options)

        async def look_up_on_loop(host, port, **options):
            await asyncio.sleep(0)
            return getaddrinfo(host, port)

        async def sock_connect(sock, address):
            tried[address[0]] += 1
            if address[0] == "127.0.0.9":
                await asyncio.Event().wait()
            return await connect(sock, address)

        transport = Transport(most_bytes=1 << 20)
        loop_like = Watched(running, look_up_on_loop, sock_connect)
        monkeypatch.setattr("rowmill.tasks.gateway.transport.asyncio.get_running_loop", lambda: loop_like)
        async with Server(saying(PLAIN)) as server:
            url = f"http://gateway.test:{server.port}/x"
            assert (await ask(transport, url)).content == BODY
            # On a busy machine a good address may take longer than the next one's turn.
            monkeypatch.setattr("rowmill.tasks.gateway.dialer.NEXT_ADDRESS_S", 60)
            await asyncio.gather(*(ask(transport, url) for _ in range(50)))
            await transport.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())
    assert looked_up == {"gateway.test": 1}
    assert tried["127.0.0.9"] == 1


class Watched:
    """An event loop whose names and connections are a test's."""

    def __init__(self, loop, getaddrinfo, sock_connect) -> None:
        self._loop, self.getaddrinfo, self.sock_connect = loop, getaddrinfo, sock_connect

    def __getattr__(self, name):
        return getattr(self._loop, name)


def test_a_failed_look_up_is_not_kept():
    """A name that is not found now may be found by the next call."""

    async def scenario() -> None:
        transport = Transport(most_bytes=1 << 20)
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                await ask(transport, "http://no-such-host.invalid/x")

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_its_target_is_told(status):
    """The key goes nowhere else; the failure says where the gateway pointed to."""

    async def scenario() -> tuple[Exchange, int]:
        async with Server(saying(PLAIN)) as other:
            location = f"Location: {other.base_url}/v2?key=1".encode()
            async with Server(saying(answer(b"moved", location, status=b"%d Moved" % status))) as server:
                client = client_of(server.base_url)
                exchange = await client.send(b"{}")
                await client.aclose()
                return exchange, other.requests

    exchange, followed = asyncio.run(scenario())
    assert followed == 0
    assert exchange.failure is not None
    assert "redirects to http://127.0.0.1" in exchange.failure.message
    assert "key=1" not in exchange.failure.message
