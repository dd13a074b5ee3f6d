"""Processes: what two processes on one machine give over one: the halves of a job side by side, against the whole."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.measure import environment_of, rowmill, rows, stub

ROWS = 40_000


def processes(folder: Path, count: int = ROWS, times: int = 3) -> float:
    """Wall of two halves at once over that of the whole in one process, zero latency; start-up is in both."""
    whole = rows(folder, count)
    lines = whole.read_text().splitlines(keepends=True)
    halves = []
    for number in (0, 1):
        (folder / f"half{number}").mkdir()
        halves.append(folder / f"half{number}" / "rows.jsonl")
        halves[-1].write_text("".join(lines[number::2]))
    ratios = []
    with stub(0) as one, stub(0) as other:
        for _ in range(times):
            alone = _wall([(folder, whole, one)])
            ratios.append(
                _wall([(half.parent, half, port) for half, port in zip(halves, (one, other), strict=True)]) / alone
            )
    print(f"two processes take {median(ratios):.2f} of one's time over {count:,} rows at zero latency ({times} runs)")
    return median(ratios)


def _wall(runs: list[tuple[Path, Path, str]]) -> float:
    began = time.perf_counter()
    started = [
        subprocess.Popen(
            rowmill(folder, input_, "out", concurrency=256), env=environment_of(port), stderr=subprocess.DEVNULL
        )
        for folder, input_, port in runs
    ]
    if any(process.wait() for process in started):
        raise SystemExit("a run failed")
    return time.perf_counter() - began


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rowmill-bench-") as name:
        processes(Path(name), int(sys.argv[1]))
