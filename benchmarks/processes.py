"""Processes: what two processes on one machine give over one: the halves of a job side by side, against the whole."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.measure import environment_of, rowmill, rows, stub

ROWS = 40_000


def processes(folder: Path, count: int = ROWS, times: int = 3) -> float:
    """Two halves at once over the whole in one process, zero latency, start-up in both: the wall, which tells how many
    cores were free, and the CPU of the dearer half, which is what the wall would be where each has a core to itself.
    """
    whole = rows(folder, count)
    lines = whole.read_text().splitlines(keepends=True)
    halves = []
    for number in (0, 1):
        (folder / f"half{number}").mkdir()
        halves.append(folder / f"half{number}" / "rows.jsonl")
        halves[-1].write_text("".join(lines[number::2]))
    walls, cpus = [], []
    with stub(0) as one, stub(0) as other:
        for _ in range(times):
            alone = _costs([(folder, whole, one)])
            both = _costs([(half.parent, half, port) for half, port in zip(halves, (one, other), strict=True)])
            walls.append(both[0] / alone[0])
            cpus.append(both[1] / alone[1])
    print(f"two processes over {count:,} rows at zero latency, medians of {times}: {median(walls):.2f} of one's wall, "
          f"{median(cpus):.2f} of its CPU each")  # fmt: skip
    return median(walls)


def _costs(runs: list[tuple[Path, Path, str]]) -> tuple[float, float]:
    """Wall until the last has ended, and the CPU of the dearest."""
    began = time.perf_counter()
    started = [
        subprocess.Popen(
            rowmill(folder, input_, "out", concurrency=256), env=environment_of(port), stderr=subprocess.DEVNULL
        )
        for folder, input_, port in runs
    ]
    cpus = []
    for process in started:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise SystemExit("a run failed")
        cpus.append(used.ru_utime + used.ru_stime)
    return time.perf_counter() - began, max(cpus)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rowmill-bench-") as name:
        processes(Path(name), int(sys.argv[1]))
