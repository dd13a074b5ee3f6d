"""S3: where its server is and what region, as the environment says it.

`AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` names another server than Amazon's; credentials and region are found as
every AWS program finds them (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, a profile, the role). None of it is written anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

SCHEME = "s3://"
AMAZON = "Amazon S3"
HINT = "are AWS_ENDPOINT_URL, the credentials and the name right?"
CONNECT_S, ANSWER_S = 5.0, 30.0
# Where a server that is not Amazon's is named, and no region.
REGION = "us-east-1"


def endpoint(environment: Mapping[str, str] = os.environ) -> str:
    """The server that is asked, without what may be secret in its address."""
    address = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    return shown(address) if address else AMAZON


def shown(address: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def region(environment: Mapping[str, str] = os.environ) -> str | None:
    """The region that the environment names."""
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")


def connect() -> Any:
    """pyarrow's file system of the bucket's server."""
    from pyarrow.fs import S3FileSystem

    options: dict[str, Any] = {"connect_timeout": CONNECT_S, "request_timeout": ANSWER_S}
    if (server := endpoint()) != AMAZON:
        parts = urlsplit(server)
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
        options["region"] = region() or REGION
    return S3FileSystem(**options)
