"""Dialer: an address → an open connection: one look-up for all, addresses raced, a proxy's tunnel, TLS."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import aiohappyeyeballs
import httpx

from rowmill.schemas.errors import JobError
from rowmill.tasks.gateway.proxies import DEFAULT_PORTS, Proxy

# How long an answer of the name service serves all connections: a gateway that moves is followed within this time.
NAMES_KEPT_S = 10.0
# RFC 8305, 8: the recommended delay before the next address is tried beside the first.
NEXT_ADDRESS_S = 0.25
TUNNEL_HEAD_MOST_BYTES = 16 * 1024
# As curl, requests and OpenSSL name them; the first that is set counts.
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# What we show a server that asks who we are, as curl's --cert and --key: no variable for it is common.
CLIENT_CERT, CLIENT_KEY = "ROWMILL_CLIENT_CERT", "ROWMILL_CLIENT_KEY"

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
P = TypeVar("P", bound=asyncio.Protocol)


def tls_context(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Who is trusted: the file, or the folder as OpenSSL hashes it, that the environment names; else httpx's own list.
    With it the certificate that we show a server which asks for one.

    Raises JobError where what is named cannot be read.
    """
    variable = next((name for name in CERTIFICATES if environment.get(name)), None)
    if variable is None:
        context = httpx.create_ssl_context()
    else:
        place = environment[variable]
        try:
            is_folder = Path(place).is_dir()
            if variable == "SSL_CERT_DIR" and not is_folder:
                raise NotADirectoryError(errno.ENOTDIR, "not a folder")
            context = ssl.create_default_context(
                cafile=None if is_folder else place, capath=place if is_folder else None
            )
        except OSError as error:
            raise JobError(
                f"no certificates can be read from {place}: {error.strerror or error}",
                where=variable,
                hint="name a file of PEM certificates, or unset it",
            ) from None
    context.set_alpn_protocols(["http/1.1"])
    _show_certificate(context, environment)
    return context


def _show_certificate(context: ssl.SSLContext, environment: Mapping[str, str]) -> None:
    certificate, key = environment.get(CLIENT_CERT), environment.get(CLIENT_KEY)
    hint = f"name a PEM file of the certificate in {CLIENT_CERT}, and its key's, where that is apart, in {CLIENT_KEY}"
    if not certificate:
        if key:
            raise JobError("a client's key is named without its certificate", where=CLIENT_KEY, hint=hint)
        return
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key or None, password="")
    except OSError as error:
        raise JobError(
            f"no client certificate can be read from {certificate}{f' and {key}' if key else ''}: "
            f"{getattr(error, 'reason', None) or error.strerror or error}",
            where=CLIENT_CERT,
            hint=f"{hint}; a key behind a passphrase cannot be used",
        ) from None


class Dialer:
    """Opens connections for one transport."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None = None) -> None:
        """`tls` says who is trusted; without it the environment does, once it is needed."""
        self._loop, self._tls = loop, tls
        self._names: dict[tuple[str, int], tuple[float, asyncio.Future[list[AddressInfo]]]] = {}

    async def dial(self, url: httpx.URL, proxy: Proxy | None, make: Callable[[], P], *, timeout_s: float) -> P:
        """A connection to the address's host, or to its proxy. Raises ConnectError, ConnectTimeout, JobError."""
        try:
            async with asyncio.timeout(timeout_s):
                if proxy is None:
                    return await self._open(url.scheme, url.raw_host.decode("ascii"), _port(url), make=make)
                if url.scheme == "http":
                    return await self._open(proxy.scheme, proxy.host, proxy.port, make=make)
                return await self._open_tunnel(url, proxy, make)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection within {timeout_s:g} s{_through(proxy)}") from None
        except (OSError, RuntimeError, UnicodeError) as error:
            # RuntimeError: uvloop, where its system call refuses an address. UnicodeError: no name for the DNS.
            raise httpx.ConnectError(f"{error}{_through(proxy)}") from error

    async def _open(self, scheme: str, host: str, port: int, *, make: Callable[[], P]) -> P:
        tls = self._context() if scheme == "https" else None
        connected = await self._connect(host, port)
        try:
            _, protocol = await self._loop.create_connection(
                make, sock=connected, ssl=tls, server_hostname=host if tls else None
            )
        except BaseException:
            connected.close()
            raise
        return protocol

    async def _connect(self, host: str, port: int) -> socket.socket:
        """The first of the host's addresses that takes a connection; from then on it is tried first."""
        addresses = await self._addresses(host, port)
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, loop=self._loop
        )
        if len(addresses) > 1:
            reached = connected.getpeername()[:2]
            addresses.sort(key=lambda one: one[4][:2] != reached)
        return connected

    async def _addresses(self, host: str, port: int) -> list[AddressInfo]:
        """The host's addresses: one look-up serves every connection for some seconds, a failed one nobody else."""
        now = self._loop.time()
        until, looking = self._names.get((host, port), (0.0, None))
        if looking is None or (looking.done() and now >= until) or _failed(looking):
            looking = asyncio.ensure_future(self._look_up(host, port))
            looking.add_done_callback(_failed)
            self._names[host, port] = (now + NAMES_KEPT_S, looking)
        # One call that is given up does not take the look-up from the others.
        return await asyncio.shield(looking)

    async def _look_up(self, host: str, port: int) -> list[AddressInfo]:
        try:
            # An address needs no thread.
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except OSError:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return cast(list[AddressInfo], list(found))

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls_context()
        return self._tls

    async def _open_tunnel(self, url: httpx.URL, proxy: Proxy, make: Callable[[], P]) -> P:
        """A TLS connection to the host through the proxy's CONNECT; the proxy sees neither key nor rows."""
        name = url.raw_host.decode("ascii")
        target = f"[{name}]:{_port(url)}" if ":" in name else f"{name}:{_port(url)}"
        tunnel = await self._open(proxy.scheme, proxy.host, proxy.port, make=lambda: _Tunnel(self._loop, target, proxy))
        protocol = make()
        try:
            transport = await tunnel.opened
            transport.set_protocol(protocol)
            encrypted = await self._loop.start_tls(transport, protocol, self._context(), server_hostname=name)
        except BaseException:
            tunnel.abort()
            raise
        assert encrypted is not None
        protocol.connection_made(encrypted)
        return protocol


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a way to a host, and is done with its first answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: str, proxy: Proxy) -> None:
        self.opened: asyncio.Future[asyncio.Transport] = loop.create_future()
        self._target, self._proxy, self._received = target, proxy, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        lines = [f"CONNECT {self._target} HTTP/1.1".encode(), f"host: {self._target}".encode(), b"user-agent: rowmill"]
        if self._proxy.authorization is not None:
            lines.append(b"proxy-authorization: " + self._proxy.authorization)
        self._transport.write(b"\r\n".join(lines) + b"\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, surplus = self._received.partition(b"\r\n\r\n")
        if not end and len(head) < TUNNEL_HEAD_MOST_BYTES:
            return
        status = head.split(b"\r\n")[0].split(b" ", 2)
        if end and not surplus and len(status) > 1 and status[0].startswith(b"HTTP/1.") and status[1][:1] == b"2":
            self._transport.pause_reading()
            if not self.opened.done():
                self.opened.set_result(self._transport)
            return
        words = b" ".join(status[1:])[:200].decode("ascii", "replace")
        self._refuse(f"the proxy opens no way to {self._target}: {words or 'what it says is not HTTP'}")

    def connection_lost(self, error: Exception | None) -> None:
        self._refuse(f"the proxy closed the connection{f': {error}' if error else ''}")

    def _refuse(self, reason: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(reason))

    def abort(self) -> None:
        self._transport.abort()


def _port(url: httpx.URL) -> int:
    return url.port or DEFAULT_PORTS[url.scheme]


def _failed(looking: asyncio.Future[list[AddressInfo]]) -> bool:
    return looking.done() and (looking.cancelled() or looking.exception() is not None)


def _through(proxy: Proxy | None) -> str:
    return f" (through the proxy {proxy})" if proxy is not None else ""
