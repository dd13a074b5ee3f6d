"""A server that speaks S3 for tests and benchmarks, in a process of its own, with one bucket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import boto3

BUCKET = "answers"
START_S = 30.0


def environment(url: str) -> dict[str, str]:
    """What a process has to know of the bucket."""
    return {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests-secret"}


def running() -> AbstractContextManager[str]:
    """Its address; it is gone when the block ends."""
    return started(lambda port: [sys.executable, "-c", f"from moto.server import main; main(['-p', '{port}'])"])


@contextmanager
def started(command_on: Callable[[int], list[str]], **more: str) -> Iterator[str]:
    """A server that this command starts on a port, and its address; it has the bucket."""
    with listening(command_on, **more) as port:
        url = f"http://127.0.0.1:{port}"
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="tests",
            aws_secret_access_key="tests-secret",
        )  # fmt: skip
        client.create_bucket(Bucket=BUCKET)
        yield url


@contextmanager
def listening(command_on: Callable[[int], list[str]], **more: str) -> Iterator[int]:
    """The port on which a server listens that this command starts; it is gone when the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        command_on(port), env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until = time.monotonic() + START_S
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if time.monotonic() > until:
                    raise RuntimeError(f"{command_on(port)[0]} did not start")
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)
