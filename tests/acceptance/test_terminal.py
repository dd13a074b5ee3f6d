"""The live display on a real terminal: it fits, it does not flood, and it leaves the summary alone on the screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time

import pytest

from tests.conftest import Bench

COLUMNS = 60


def on_a_terminal(bench: Bench, base_url: str, *args: str, **more: str) -> tuple[str, float]:
    """What a run writes to a terminal of sixty columns, and how long it took."""
    leader, follower = pty.openpty()
    # A width told by the environment would stand for the terminal's own.
    environment = {
        name: value for name, value in bench.environment(base_url).items() if name not in ("COLUMNS", "LINES")
    }
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    began = time.monotonic()
    process = subprocess.Popen(
        bench.command(*args), cwd=bench.folder, env={**environment, "TERM": "xterm-256color", **more},
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    seen = b""
    while True:
        try:
            piece = os.read(leader, 65_536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    process.wait(60)
    os.close(leader)
    return seen.decode("utf-8", "replace"), time.monotonic() - began


@pytest.mark.parametrize("more", [{}, {"NO_COLOR": "1"}])
def test_the_bar_fits_and_is_redrawn_seldom(bench, sandboxes, more):
    """On sixty columns no line is wider, there are at most ten redraws a second, and the summary is left at the end."""
    sandbox = sandboxes(latency_ms=30)
    bench.rows([{"id": f"r{n}", "text": f"person {n}"} for n in range(300)])
    bench.job(id="id", params={"max_output_tokens": 400}, limits={"rpm": 6_000, "concurrency": 16}, max_cost_usd=5)
    seen, took = on_a_terminal(bench, sandbox.base_url, "run", "job.yaml", "--direct", **more)
    assert seen.count("rows/s") >= 3
    assert seen.count("rows/s") <= 10 * took
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    live = plain[: plain.index("complete: ")]
    drawn = [line for line in re.split(r"[\r\n]+", live) if not line.startswith("rowmill: ")]
    assert max(map(len, drawn)) <= COLUMNS
    assert "in flight of" in live
    assert "calls a minute of 6,000" in live
    assert "complete: 300 rows: 300 ok" in plain
    assert "latency: p50" in plain
