"""Buckets: input files in an object store, by pyarrow's own clients; a store is one line of a registry.

Addresses and credentials come from the environment, as every program of that store finds them. None of it is written
anywhere.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from rowmill.schemas.errors import InputError, first_line
from rowmill.tasks.system import s3

WILD = frozenset("*?[")
ANSWER_S = 30


@dataclass(frozen=True, slots=True)
class Store:
    """An object store: `connect` gives pyarrow's file system, `server` names who is asked, `hint` what it looks for."""

    connect: Callable[[], Any]
    server: Callable[[], str]
    hint: str


def _google(environment: Mapping[str, str] = os.environ) -> Any:
    from pyarrow.fs import GcsFileSystem

    limit = timedelta(seconds=ANSWER_S)
    if (emulator := environment.get("STORAGE_EMULATOR_HOST")) is not None:
        parts = urlsplit(emulator if "://" in emulator else f"http://{emulator}")
        return GcsFileSystem(
            anonymous=True, scheme=parts.scheme, endpoint_override=parts.netloc, retry_time_limit=limit
        )
    return GcsFileSystem(retry_time_limit=limit)


def _google_server(environment: Mapping[str, str] = os.environ) -> str:
    emulator = environment.get("STORAGE_EMULATOR_HOST")
    return "Google Cloud Storage" if emulator is None else s3.shown(emulator)


def _azure(environment: Mapping[str, str] = os.environ) -> Any:
    from pyarrow.fs import AzureFileSystem

    given = azure_settings(environment)
    if "account" not in given:
        raise OSError("no storage account is named")
    options: dict[str, Any] = {
        name: given[key] for name, key in (("account_key", "key"), ("sas_token", "sas")) if key in given
    }
    if (endpoint := given.get("endpoint")) is not None:
        parts = urlsplit(endpoint)
        for kind in ("blob", "dfs"):
            options |= {f"{kind}_storage_authority": parts.netloc, f"{kind}_storage_scheme": parts.scheme}
    return AzureFileSystem(given["account"], **options)


def azure_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Account, key, token and endpoint, from the variables of Azure's own tools, the first that is there."""
    text = environment.get("AZURE_STORAGE_CONNECTION_STRING", "")
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    variables = {
        "account": ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"),
        "key": ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY"),
        "sas": ("AZURE_STORAGE_SAS_TOKEN",),
        "endpoint": ("AZURE_STORAGE_BLOB_ENDPOINT", "AZURE_STORAGE_ENDPOINT"),
    }
    of_text = {
        "account": "AccountName",
        "key": "AccountKey",
        "sas": "SharedAccessSignature",
        "endpoint": "BlobEndpoint",
    }
    found = {}
    for key, names in variables.items():
        value = next((environment[name] for name in names if environment.get(name)), parts.get(of_text[key]))
        if value:
            found[key] = value
    return found


def _azure_server(environment: Mapping[str, str] = os.environ) -> str:
    given = azure_settings(environment)
    endpoint = given.get("endpoint")
    return s3.shown(endpoint) if endpoint else f"Azure ({given['account']})" if "account" in given else "Azure"


STORES: Mapping[str, Store] = {
    "s3://": Store(s3.connect, s3.endpoint, s3.HINT),
    "gs://": Store(
        _google,
        _google_server,
        "it looks for GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the account of this "
        "machine: are they and the name right?",
    ),
    "az://": Store(
        _azure,
        _azure_server,
        "it looks for AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, "
        "AZURE_STORAGE_CONNECTION_STRING, or what `az login` left; are they and the name (az://container/path) right?",
    ),
}


@dataclass(frozen=True, slots=True)
class BucketFile:
    """One object: its address, its size in bytes and when it was changed."""

    url: str
    size: int
    mtime_ns: int

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.url).suffix

    @property
    def parent(self) -> PurePosixPath:
        return PurePosixPath(self.url).parent

    def open(self) -> Any:
        """A seekable stream. Raises OSError where the object cannot be read."""
        scheme = scheme_of(self.url)
        assert scheme is not None
        file = _file_system(scheme).open_input_file(self.url.removeprefix(scheme))
        if file.closed:
            # Google's client gives a closed stream where its first request failed.
            raise OSError(f"{STORES[scheme].server()} did not give it")
        return file


def object_content(url: str, most: int) -> bytes | int:
    """The bytes of one object; its size alone where it has more than `most`.

    Raises FileNotFoundError where there is none, InputError where the bucket does not give it.
    """
    scheme = scheme_of(url)
    assert scheme is not None
    store = STORES[scheme]
    try:
        with _file_system(scheme).open_input_file(url.removeprefix(scheme)) as file:
            size = int(file.size())
            return size if size > most else bytes(file.read())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{store.server()} does not give it: {first_line(error)}", where=url, hint=store.hint
        ) from None


def scheme_of(address: str) -> str | None:
    """The store that an address is of, as its registry names it; None for a path."""
    return next((scheme for scheme in STORES if address.startswith(scheme)), None)


def bucket_files(pattern: str) -> list[BucketFile]:
    """The objects of an address, all below one that ends in `/`, or those that match `*`, `?`, `[...]`; sorted.

    Raises InputError, naming the address, where there is none or where the bucket cannot be reached.
    """
    from pyarrow.fs import FileSelector, FileType

    scheme = scheme_of(pattern)
    assert scheme is not None
    store, path = STORES[scheme], pattern.removeprefix(scheme)
    wild = next((at for at, char in enumerate(path) if char in WILD), None)
    base = path if wild is None else path[: path.rfind("/", 0, wild)]
    if "/" not in base.rstrip("/") and not pattern.endswith("/") and wild is None:
        raise InputError("no object is named", where=pattern, hint=f"write it as {scheme}bucket/path/file.jsonl")
    try:
        files = _file_system(scheme)
        [found] = files.get_file_info([base.rstrip("/")])
        if found.type is FileType.File and wild is None:
            return [_file(scheme, found)]
        inside = files.get_file_info(FileSelector(base.rstrip("/"), recursive=True, allow_not_found=True))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{store.server()} does not give it: {first_line(error)}", where=pattern, hint=store.hint
        ) from None
    listed = [one for one in inside if one.type is FileType.File]
    if wild is not None:
        listed = [one for one in listed if fnmatch.fnmatchcase(one.path, path)]
    return sorted((_file(scheme, one) for one in listed), key=lambda file: file.url)


def _file(scheme: str, info: Any) -> BucketFile:
    return BucketFile(scheme + info.path, info.size, info.mtime_ns or 0)


@lru_cache(8)
def _file_system(scheme: str) -> Any:
    return STORES[scheme].connect()
