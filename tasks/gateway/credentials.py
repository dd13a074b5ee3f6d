"""Credentials: where to call and with which key, from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from rowmill.schemas.errors import JobError

KEY_VARIABLE = "ROWMILL_API_KEY"
BASE_URL_VARIABLE = "ROWMILL_BASE_URL"
# The key of a sandbox that a command starts for itself.
SANDBOX_KEY = "sk-sandbox-only-0000"
_UNTIL_HOST = re.compile(r"((?:[A-Za-z]+://)?)[^:/?#@]*")
DEFAULT_BASE_URL = "https://api.aivideoapi.ai"


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where to call and with which key; never part of a job, a flow's parameters or a file."""

    base_url: str
    api_key: str
    catalogue: str | None = None
    redis_url: str | None = None

    def __repr__(self) -> str:
        return f"Gateway({shown_address(self.base_url)!r})"


def gateway_from(environment: Mapping[str, str], *, needs_key: bool = True) -> Gateway:
    """Address and key from ROWMILL_BASE_URL and ROWMILL_API_KEY.

    Where no model that is asked needs one, no key is read and none can be sent. Raises JobError where a key is needed
    and missing, or the address is none that can be called.
    """
    base_url = environment.get(BASE_URL_VARIABLE, "").strip() or DEFAULT_BASE_URL
    key = _key_in(environment) if needs_key else ""
    endpoint(base_url, "/")
    return Gateway(
        base_url,
        key,
        environment.get("ROWMILL_CATALOGUE") or None,
        environment.get("ROWMILL_REDIS_URL") or None,
    )


def gateway_of_block(base_url: str, key: str | None, catalogue: str | None) -> Gateway:
    """The same from a Prefect block, which holds address and key together; limits and budgets are shared as the
    environment says. Raises JobError.
    """
    told = {BASE_URL_VARIABLE: base_url, KEY_VARIABLE: key or "", "ROWMILL_CATALOGUE": catalogue or ""}
    redis_url = os.environ.get("ROWMILL_REDIS_URL", "")
    return gateway_from({**told, "ROWMILL_REDIS_URL": redis_url}, needs_key=key is not None)


def _key_in(environment: Mapping[str, str]) -> str:
    key = environment.get(KEY_VARIABLE, "").strip()
    if not key or not (key.isascii() and key.isprintable()) or any(char.isspace() for char in key):
        raise JobError(
            "the API key is missing" if not key else "the API key holds characters that no key has",
            where=KEY_VARIABLE,
            hint="set it in the environment, name a Secret block (api_key_block), or try the job with --sandbox",
        )
    return key


def endpoint(base_url: str, path: str) -> httpx.URL:
    """Base address + path. A base that already ends in /v1 is not doubled.

    Raises JobError for what is no address, and for one with a user name, a password or a query: what may be a secret is
    not shown, and nothing of an address is dropped in silence.
    """
    try:
        url = httpx.URL(base_url)
        # A host that is no name is found out when it is asked for.
        is_address = url.scheme in ("http", "https") and bool(url.raw_host)
    except (httpx.InvalidURL, TypeError, ValueError):
        is_address = False
    if not is_address:
        raise JobError(
            f"{shown_address(base_url)!r} is no web address",
            where=BASE_URL_VARIABLE,
            hint="write it as https://host, without the path",
        )
    if any(sign in base_url for sign in "@?#"):
        raise JobError(
            "the address holds a user name, a password or a query, and none of them would be sent",
            where=BASE_URL_VARIABLE,
            hint=f"write it as https://host: the key is told by {KEY_VARIABLE}",
        )
    base = base_url.rstrip("/")
    if path.startswith("/v1/"):
        base = base.removesuffix("/v1")
    return httpx.URL(base + path)


def shown_address(base_url: str) -> str:
    """An address as far as it can hold no secret: up to its host, or up to where a user's name may begin."""
    found = _UNTIL_HOST.match(base_url)
    shown = found[1] if found and "@" in base_url else found[0] if found else ""
    return shown if shown == base_url else f"{shown}…"


@contextmanager
def key_withheld(environment: MutableMapping[str, str]) -> Iterator[None]:
    """The environment without the key, for as long as a process is started that has no use for it."""
    key = environment.pop(KEY_VARIABLE, None)
    try:
        yield
    finally:
        if key is not None:
            environment[KEY_VARIABLE] = key
