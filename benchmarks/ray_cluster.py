"""A Ray cluster of real processes on loopback, for as long as a block lasts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.dask_cluster import PYTHONPATH

# Ray takes another address of the machine where it is told 127.0.0.1.
HOST = "127.0.0.2"
START_S = 90.0


@contextmanager
def running(cpus: int, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """One node with so many CPUs, ended with all of its processes. Gives its address. `folder` must be a short path."""
    log = folder / "ray.log"
    with open(log, "w") as file:
        node = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port", "0", "--num-cpus",
             str(cpus), "--include-dashboard", "false", "--object-store-memory", "80000000", "--node-ip-address", HOST,
             "--temp-dir", str(folder)],
            env={**os.environ, "PYTHONPATH": PYTHONPATH, "RAY_USAGE_STATS_ENABLED": "0", **environment},
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + START_S
        while "will now block" not in log.read_text():
            if time.monotonic() > until or node.poll() is not None:
                raise RuntimeError(f"Ray did not start:\n{log.read_text()}")
            time.sleep(0.1)
        found = re.search(rf"{HOST}:\d+", log.read_text())
        assert found is not None
        yield found[0]
    finally:
        node.send_signal(signal.SIGTERM)
        try:
            node.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()
