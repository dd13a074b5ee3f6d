"""Large answers, and processes of their own that send and that read them: `python -m tests.gateway.large_bodies ...`."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import resource
import sys
from collections import Counter
from pathlib import Path

from rowmill.schemas.catalogue import builtin_catalogue, find_model
from rowmill.tasks.gateway.client import ANSWER_MOST_BYTES, Client
from rowmill.tasks.system.clock import Clock
from tests.gateway.raw_server import Server, answer, saying

COMPLETION = json.dumps(
    {
        "choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()


def gzipped(content: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        content = gzip.compress(content, mtime=0)
    return content


def bomb(size: int) -> bytes:
    """`size` MiB of zeros in gzip, made of repeated members, so that it takes no time to make."""
    return gzipped(b"\0" * (1 << 20)) * size


# Each a function that makes it, the encoding it is told in, and the outcome of a call that gets it.
BODIES = {
    "small": (lambda: gzipped(COMPLETION), b"gzip", "ok"),
    "a byte too large": (lambda: gzipped(b"\0" * (ANSWER_MOST_BYTES + 1)), b"gzip", "unreadable_body"),
    "a gigabyte": (lambda: bomb(1 << 10), b"gzip", "unreadable_body"),
    "20 gigabytes": (lambda: gzipped(bomb(20 << 10)), b"gzip, gzip", "unreadable_body"),
    "three times": (lambda: gzipped(bomb(1 << 8), 2), b"gzip, gzip, gzip", "unreadable_body"),
    "an error": (lambda: gzipped(b'{"error": {"code": "upstream_error"}}'), b"gzip", "upstream_error"),
    "garbage": (lambda: b"no gzip at all", b"gzip", "unreadable_body"),
    "48 MB of objects": (lambda: b"[" + b"{}," * 16_000_000 + b"0]", b"identity", "unreadable_body"),
    "50 MB of text": (lambda: b'{"pad": "' + b"x" * 50_000_000 + b'", ' + COMPLETION[1:], b"identity", "ok"),
}  # fmt: skip


def client_of(base_url: str, **options) -> Client:
    settings = {"api_key": "sk-0123456789ab", "timeout_s": 20.0, "stream": False, "clock": Clock(), **options}
    return Client(find_model("gemini-3-pro", builtin_catalogue()), base_url=base_url, **settings)


async def serve(name: str) -> None:
    """Answer every request with a body; the port is told on standard output."""
    make, encoding, _ = BODIES[name]
    async with Server(saying(answer(make(), b"Content-Encoding: " + encoding))) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


async def call(port: str, calls: str) -> None:
    """So many calls at once in little memory; how they ended, and the most memory there was, on standard output."""
    client = client_of(f"http://127.0.0.1:{port}", timeout_s=60.0)
    limit = 2 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    exchanges = await asyncio.gather(*(client.send(b"{}") for _ in range(int(calls))))
    outcomes = Counter(one.failure.kind.value if one.failure else "ok" for one in exchanges)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({"outcomes": outcomes, "peak_mb": int(peak[1]) // 1024}))


if __name__ == "__main__":
    asyncio.run({"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:]))
