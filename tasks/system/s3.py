"""Bucket: input files in an S3 bucket, by pyarrow's own client. Address and credentials come from the environment.

`AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` names another server than Amazon's; credentials and region are found as
every AWS program finds them (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, a profile, the role). None of it is written anywhere.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from rowmill.schemas.errors import InputError, first_line

SCHEME = "s3://"
WILD = frozenset("*?[")
HINT = "are AWS_ENDPOINT_URL, the credentials and the name right?"
CONNECT_S, ANSWER_S = 5.0, 30.0
# Where a server that is not Amazon's is named, and no region.
REGION = "us-east-1"


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

    def open(self) -> Any:
        """A seekable stream. Raises OSError where the object cannot be read."""
        return _file_system().open_input_file(self.url.removeprefix(SCHEME))


def bucket_files(pattern: str) -> list[BucketFile]:
    """The objects of an address, all below one that ends in `/`, or those that match `*`, `?`, `[...]`; sorted.

    Raises InputError, naming the address, where there is none or where the bucket cannot be reached.
    """
    from pyarrow.fs import FileSelector, FileType

    path = pattern.removeprefix(SCHEME)
    wild = next((at for at, char in enumerate(path) if char in WILD), None)
    base = path if wild is None else path[: path.rfind("/", 0, wild)]
    if "/" not in base.rstrip("/") and not pattern.endswith("/") and wild is None:
        raise InputError("no object is named", where=pattern, hint="write it as s3://bucket/path/file.jsonl")
    try:
        [found] = _file_system().get_file_info([base.rstrip("/")])
        if found.type is FileType.File and wild is None:
            return [_file(found)]
        inside = _file_system().get_file_info(FileSelector(base.rstrip("/"), recursive=True, allow_not_found=True))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{endpoint()} does not give it: {first_line(error)}", where=pattern, hint=HINT) from None
    files = [one for one in inside if one.type is FileType.File]
    if wild is not None:
        files = [one for one in files if fnmatch.fnmatchcase(one.path, path)]
    return sorted(map(_file, files), key=lambda file: file.url)


def _file(info: Any) -> BucketFile:
    return BucketFile(SCHEME + info.path, info.size, info.mtime_ns or 0)


def endpoint(environment: Mapping[str, str] = os.environ) -> str:
    """The server that is asked, without what may be secret in its address."""
    address = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if not address:
        return "Amazon S3"
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def region(environment: Mapping[str, str] = os.environ) -> str | None:
    """The region that the environment names."""
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")


@lru_cache(1)
def _file_system() -> Any:
    from pyarrow.fs import S3FileSystem

    options: dict[str, Any] = {"connect_timeout": CONNECT_S, "request_timeout": ANSWER_S}
    if (server := endpoint()) != "Amazon S3":
        parts = urlsplit(server)
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
        options["region"] = region() or REGION
    return S3FileSystem(**options)
