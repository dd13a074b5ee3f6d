"""A bucket on a real server that speaks S3, and what an output in it holds."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import polars as pl
from moto.server import ThreadedMotoServer

SECRET = "hidden-secret-access-key"
BUCKET, OUT = "answers", "s3://answers/runs/one"


@contextmanager
def s3_server() -> Iterator[str]:
    """A server of the test's own, by its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def s3_bucket() -> Iterator[Any]:
    """A client of such a server, with an empty bucket."""
    with s3_server() as url:
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="tests", aws_secret_access_key=SECRET
        )
        client.create_bucket(Bucket=BUCKET)
        yield client
        # What it holds belongs to the process, not to the server.
        for name in names_below(client, ""):
            client.delete_object(Bucket=BUCKET, Key=name)


def environment_of(url: str) -> dict[str, str]:
    """What a process knows that may use the server."""
    return {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": SECRET}


def names(s3: Any) -> list[str]:
    """The objects of the output `OUT`."""
    return [name.removeprefix("runs/one/") for name in names_below(s3, "runs/one/")]


def names_below(s3: Any, prefix: str) -> list[str]:
    """The objects whose names begin so, in their order."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [one["Key"] for page in pages for one in page.get("Contents", [])]


def objects_below(s3: Any, prefix: str) -> dict[str, bytes]:
    """These objects themselves, by name."""
    return {name: s3.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in names_below(s3, prefix)}


def body(s3: Any, name: str) -> bytes:
    """One of these objects."""
    return s3.get_object(Bucket=BUCKET, Key=f"runs/one/{name}")["Body"].read()


def results(s3: Any) -> pl.DataFrame:
    """The rows of the output."""
    parts = [name for name in sorted(names(s3)) if name.startswith("results/")]
    return pl.concat([pl.read_parquet(io.BytesIO(body(s3, name))) for name in parts])
