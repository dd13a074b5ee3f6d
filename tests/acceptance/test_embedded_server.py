"""The Prefect server that a run starts for itself: it has no key, and stands behind no proxy."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import KEY, Bench

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


def children(parent: int) -> list[Path]:
    """The processes that a process has started and that still live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(") ")[2].split()[1]) == parent:
                found.append(folder)
        except (OSError, ValueError):
            continue
    return found


def test_the_embedded_server_has_no_key_and_is_reached_past_a_proxy(
    bench: Bench, sandboxes: Any, tmp_path: Path
) -> None:
    """The server's environment has no key, and no command line of a process that a run starts; a proxy that stands before
    everything else is no way to a server on this machine."""
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(20)])
    bench.job(id="id")
    running = bench.start(
        sandbox.base_url, "run", "job.yaml", "--json",
        PREFECT_HOME=str(tmp_path / "home"), HTTP_PROXY="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9",
        NO_PROXY=urlsplit(sandbox.base_url).netloc,
    )  # fmt: skip
    lines: dict[int, bytes] = {}
    servers: dict[int, bytes] = {}
    while running.poll() is None:
        for child in children(running.pid):
            try:
                lines[int(child.name)] = (child / "cmdline").read_bytes()
                if b"prefect.server.api.server:create_app" in lines[int(child.name)]:
                    servers[int(child.name)] = (child / "environ").read_bytes()
            except OSError:
                continue
        time.sleep(0.05)
    out, err = running.communicate()
    assert running.returncode == 0, err
    assert json.loads(out)["ledger"]["ok"] == 20
    assert any(b"PREFECT__SERVER_EPHEMERAL" in environment for environment in servers.values())
    assert [one for one in (*lines.values(), *servers.values()) if KEY.encode() in one] == []


@pytest.mark.nightly
def test_the_embedded_server_ends_with_a_run_that_is_killed(bench: Bench, sandboxes: Any, tmp_path: Path) -> None:
    """A run that is killed leaves no server behind."""
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(2_000)])
    bench.job(id="id", limits={"rpm": 60})
    running = bench.start(sandbox.base_url, "run", "job.yaml", "-q", PREFECT_HOME=str(tmp_path / "home"))
    server = None
    while server is None and running.poll() is None:
        named = [one for one in children(running.pid) if b"server:create_app" in (one / "cmdline").read_bytes()]
        # The first call tells that the server is up.
        server = named[0] if named and sandbox.books()["calls"] else None
        time.sleep(0.05)
    assert server is not None
    started = (server / "stat").read_text().rpartition(") ")[2].split()[19]
    running.kill()
    running.communicate()
    until = time.monotonic() + 60
    while lives(server, started) and time.monotonic() < until:
        time.sleep(0.05)
    assert not lives(server, started)


def lives(process: Path, started: str) -> bool:
    """Whether the process that was started at this tick still runs."""
    try:
        told = (process / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return False
    return told[19] == started and told[0] != "Z"
