"""Stores: the object stores that an output can stand in, by obstore's clients; a store is one line of a registry."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from rowmill.schemas.errors import OutputError, first_line
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


def _google(bucket: str, prefix: str, environment: Mapping[str, str] = os.environ) -> Any:
    """Credentials are found as Google's programs find them; an emulator (STORAGE_EMULATOR_HOST) is shown none."""
    from obstore.store import GCSStore

    options: dict[str, Any] = {}
    address = environment.get("GOOGLE_BASE_URL", "")
    if (emulator := environment.get("STORAGE_EMULATOR_HOST")) is not None:
        address = (emulator if "://" in emulator else f"http://{emulator}").rstrip("/")
        options = {"base_url": address, "bearer_token": "emulator"}
    client: Any = _client(address)
    return GCSStore(bucket, prefix=prefix, client_options=client, retry_config=_RETRIES, **options)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class OutputStore:
    """A store that an output can stand in: `open` gives obstore's client of a bucket's folder.

    `by_version`: the conditions of a write go by an object's version (Google's generation) and not by its tag.
    `rights` are those that a run needs, as the store names them; `key` is where its credentials are looked for.
    """

    open: Callable[[str, str], Any]
    rights: str
    key: str
    by_version: bool = False


OUTPUT_STORES: Mapping[str, OutputStore] = {
    "s3://": OutputStore(
        _s3, "s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket", "AWS_ACCESS_KEY_ID and its secret"
    ),
    "gs://": OutputStore(
        _google,
        "storage.objects.get, create, delete and list: the role Storage Object User",
        "GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
        by_version=True,
    ),
    "az://": OutputStore(
        _azure,
        "the role Storage Blob Data Contributor",
        "AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, or run `az login`",
    ),
}


def output_scheme(address: str) -> str | None:
    """The store that an output's address is of; None for a path."""
    return next((scheme for scheme in OUTPUT_STORES if address.startswith(scheme)), None)


def store_of(url: str) -> OutputStore:
    """The store of an output's address."""
    scheme = output_scheme(url)
    assert scheme is not None
    return OUTPUT_STORES[scheme]


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
        from obstore.exceptions import BaseError
    except ImportError:
        raise OutputError(
            "an output in a bucket needs the obstore package", where=url, hint="pip install 'rowmill[s3]'"
        ) from None
    try:
        return OUTPUT_STORES[scheme].open(bucket, prefix)
    except BaseError as error:
        # Credentials that cannot be read are told when the client is made.
        told = f"the client of {server_of(url)} cannot be made: {first_line(error)}"
        raise OutputError(told, where=url, hint=STORES[scheme].hint) from None
    except ValueError:
        raise OutputError(
            "no folder of a bucket can have this name",
            where=url,
            hint="leave out empty parts, `.`, `..` and control characters",
        ) from None


def server_of(url: str) -> str:
    """Who is asked for an output, for people."""
    scheme = output_scheme(url)
    assert scheme is not None
    return STORES[scheme].server()
