"""Proxies: which proxy, if any, stands between here and an address, from the environment as curl and httpx read it."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

from rowmill.schemas.errors import JobError

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `authorization` is the value of Proxy-Authorization, never shown."""

    scheme: str
    host: str
    port: int
    authorization: bytes | None = None

    def __repr__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


class Proxies:
    """The proxies of an environment: HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, unless NO_PROXY names the host.

    The names may be in lower case too, which wins. A bare `host:port` is an HTTP proxy.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Raises JobError for a proxy that cannot be used: an unknown scheme, or no address at all."""
        self._by_scheme = {}
        for scheme in ("http", "https"):
            for name in (f"{scheme}_proxy", "all_proxy"):
                variable = name if environment.get(name, "").strip() else name.upper()
                if address := environment.get(variable, "").strip():
                    self._by_scheme[scheme] = _proxy(address, variable)
                    break
        named = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        self._excluded = [part for part in named.lower().replace(",", " ").split() if part]

    def of(self, url: httpx.URL) -> Proxy | None:
        """The proxy of this address, None where it is reached directly."""
        if not self._by_scheme:
            return None
        proxy = self._by_scheme.get(url.scheme)
        if proxy is None or self._is_excluded(url.host.lower(), url.port or DEFAULT_PORTS.get(url.scheme, 0)):
            return None
        return proxy

    def _is_excluded(self, host: str, port: int) -> bool:
        return any(_covers(pattern, host, port) for pattern in self._excluded)


NO_PROXIES = Proxies({})


def _proxy(address: str, variable: str) -> Proxy:
    try:
        url = httpx.URL(address if "://" in address else f"http://{address}")
        host, port = url.raw_host.decode("ascii"), url.port
    except (httpx.InvalidURL, ValueError):
        url, host, port = httpx.URL(""), "", None
    if url.scheme not in DEFAULT_PORTS or not host:
        raise JobError(
            f"this proxy cannot be used: its address begins with {url.scheme}://" if host else "no address of a proxy",
            where=variable,
            hint="name an HTTP proxy as http://host:port, or unset it",
        )
    authorization = None
    if url.userinfo:
        user, _, password = url.userinfo.decode("ascii").partition(":")
        credentials = f"{unquote(user)}:{unquote(password)}".encode()
        authorization = b"Basic " + b64encode(credentials)
    return Proxy(url.scheme, host, port or DEFAULT_PORTS[url.scheme], authorization)


def _covers(pattern: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY covers a host: `*`, a name and all below it, an address, a network, each with a port
    where it names one.
    """
    if pattern == "*":
        return True
    bare = pattern.strip("[]")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(bare, strict=False)
    except (ValueError, TypeError):
        pass
    name, colon, number = pattern.rpartition(":")
    if colon and number.isdigit():
        if int(number) != port:
            return False
        bare = name.strip("[]")
    bare = bare.lstrip("*").lstrip(".")
    return bool(bare) and (host == bare or host.endswith(f".{bare}"))
