"""Stores: the object stores that an output can stand in, by obstore's clients; a store is one line of a registry.

Google's is not among them: its conditions go by generations, which a listing does not tell, and no server that speaks
them as obstore does was found to try it on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from rowmill.schemas.errors import OutputError
from rowmill.tasks.system.buckets import STORES, azure_settings
from rowmill.tasks.system.s3 import AMAZON, REGION, endpoint, region

# Given up before the hold on an output runs out, so that a run says why it stops.
CONNECT_S, ANSWER_S, RETRY_S = 5, 60, 12
_RETRIES = {"max_retries": 8, "retry_timeout": timedelta(seconds=RETRY_S)}


def _client(address: str) -> dict[str, Any]:
    return {
        "allow_http": urlsplit(address).scheme == "http",
        "connect_timeout": timedelta(seconds=CONNECT_S),
        "timeout": timedelta(seconds=ANSWER_S),
    }


def _s3(bucket: str, prefix: str) -> Any:
    from obstore.store import S3Store

    options: dict[str, Any] = {"region": told} if (told := region()) else {}
    if (server := endpoint()) != AMAZON:
        options = {"region": REGION} | options | {"endpoint": server}
    client: Any = _client(options.get("endpoint", ""))
    return S3Store(bucket, prefix=prefix, client_options=client, retry_config=_RETRIES, **options)  # type: ignore[arg-type]


def _azure(container: str, prefix: str, environment: Mapping[str, str] = os.environ) -> Any:
    from obstore.store import AzureStore

    given = azure_settings(environment)
    names = {"account": "account_name", "key": "account_key", "sas": "sas_token", "endpoint": "endpoint"}
    options: dict[str, Any] = {names[key]: value for key, value in given.items()}
    if "account" not in given:
        raise OutputError("no storage account is named", where=f"az://{container}/{prefix}", hint=STORES["az://"].hint)
    client: Any = _client(given.get("endpoint", ""))
    return AzureStore(container, prefix=prefix, client_options=client, retry_config=_RETRIES, **options)  # type: ignore[arg-type]


OPENED: Mapping[str, Callable[[str, str], Any]] = {"s3://": _s3, "az://": _azure}


def output_scheme(address: str) -> str | None:
    """The store that an output's address is of; None for a path."""
    return next((scheme for scheme in OPENED if address.startswith(scheme)), None)


def open_store(url: str) -> Any:
    """obstore's client of the objects below an address.

    Raises OutputError where the client is not installed, or the address is none.
    """
    scheme = output_scheme(url)
    assert scheme is not None
    bucket, _, prefix = url.removeprefix(scheme).strip("/").partition("/")
    if not bucket or not prefix:
        raise OutputError("no folder of a bucket is named", where=url, hint=f"write it as {scheme}bucket/folder")
    try:
        return OPENED[scheme](bucket, prefix)
    except ImportError:
        raise OutputError(
            "an output in a bucket needs the obstore package", where=url, hint="pip install 'rowmill[s3]'"
        ) from None


def server_of(url: str) -> str:
    """Who is asked for an output, for people."""
    scheme = output_scheme(url)
    assert scheme is not None
    return STORES[scheme].server()
