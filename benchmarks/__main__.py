"""`make bench`: every figure of docs/performance.md, each beside its baseline in the same run.

`python -m benchmarks NAME...` runs some of them; `peers` makes environments of its own, `long` takes an hour.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import bucket_cluster, engine, forecasts, oracle, quota, quotes
from benchmarks.fleet import fleet
from benchmarks.kept import kept
from benchmarks.loop import loop
from benchmarks.measure import ROOT, SCHEMA, Cost, bare, measured, rowmill, rows, stub
from benchmarks.moved import moved
from benchmarks.processes import processes
from benchmarks.ready import ready
from benchmarks.stages import stages
from benchmarks.startup import startup
from benchmarks.thousand import thousand

RUNS = 5
FEW, MANY = 5_000, 100_000
# The guard's room: a noisy machine may slow either side.
GUARD_RATIO = 2.0


def slopes(folder: Path, port: str, few: int, *, many: int, concurrency: int) -> tuple[Cost, Cost]:
    """Cost of one more row, bare and rowmill, from runs of few and of many rows."""
    found = []
    for ours in (False, True):
        told = []
        for count in (few, many):
            input_ = rows(folder, count)
            command = (
                rowmill(folder, input_, "out", concurrency=concurrency)
                if ours
                else bare(port, input_, folder, concurrency=concurrency)
            )
            told.append(measured(command, port))
        less, more = told
        step = many - few
        found.append(Cost((more.wall - less.wall) / step, (more.cpu - less.cpu) / step, more.peak_mb - less.peak_mb))
    return found[0], found[1]


def per_row(folder: Path) -> float:
    """CPU a row at zero latency, 256 in flight: the ratio to the bare loop."""
    with stub(0) as port:
        told = [slopes(folder, port, FEW, many=MANY, concurrency=256) for _ in range(RUNS)]
    ratio = median(ours.cpu / base.cpu for base, ours in told)
    print(f"CPU a row, zero latency: rowmill {median(o.cpu for _, o in told) * 1e3:.3f} ms, "
          f"bare loop {median(b.cpu for b, _ in told) * 1e3:.3f} ms; ratio {ratio:.2f}")  # fmt: skip
    return ratio


def latency(folder: Path) -> None:
    """Speed at 100 ms by how many are in flight: whole process of 5,000 rows, and the slope to 20,000."""
    cpu = {}
    with stub(100) as port:
        for concurrency in (64, 256, 1024):
            told = [slopes(folder, port, FEW, many=20_000, concurrency=concurrency) for _ in range(3)]
            speed = median(base.wall / ours.wall for base, ours in told)
            cpu[concurrency] = median(ours.cpu for _, ours in told)
            whole = median(
                measured(bare(port, rows(folder, FEW), folder, concurrency=concurrency), port).wall
                / measured(rowmill(folder, rows(folder, FEW), "out", concurrency=concurrency), port).wall
                for _ in range(3)
            )
            print(f"100 ms, {concurrency} in flight: {speed:.2f} x the bare loop's speed a row, {whole:.2f} x with "
                  f"start-up over 5,000 rows; CPU a row {cpu[concurrency] * 1e3:.3f} ms")  # fmt: skip
    print(f"CPU a row at 1,024 in flight over that at 64: {cpu[1024] / cpu[64]:.2f}")


def memory(folder: Path, counts: tuple[int, ...] = (1_000, 100_000, 300_000)) -> None:
    """Peak memory and CPU a row by the number of rows."""
    with stub(0) as port:
        first = 0.0
        for count in counts:
            cost = measured(rowmill(folder, rows(folder, count), "out", concurrency=256), port)
            first = first or cost.peak_mb
            print(f"{count:,} rows: peak {cost.peak_mb:.0f} MB ({cost.peak_mb - first:+.0f}), "
                  f"{cost.cpu / count * 1e3:.3f} ms of CPU a row, {count / cost.wall:,.0f} rows/s")  # fmt: skip


def long(folder: Path) -> None:
    """The same up to ten million rows."""
    memory(folder, (1_000, 10_000, 100_000, 1_000_000, 10_000_000))


def compaction(folder: Path) -> None:
    """Rows a second from a journal to a synced part."""
    from benchmarks.parts import compact_rows

    gc.set_threshold(50_000, 10, 100)
    speeds = [asyncio.run(compact_rows(folder / f"compact{run}", SCHEMA, 100_000)) for run in range(4)]
    print(f"compaction: {median(speeds[1:]):,.0f} rows/s")


def stock(folder: Path) -> None:
    """Seconds to find what is settled among ten million rows in a thousand parts, and to index their requests."""
    from benchmarks.parts import stock_of

    found, claimed = stock_of(folder / "stock", SCHEMA, parts=1_000, rows_each=10_000)
    print(f"10,000,000 rows in 1,000 parts: settled rows found in {found:.2f} s, requests indexed in {claimed:.1f} s")


PEERS = {"openai_sdk": "openai[aiohttp]", "litellm_loop": "litellm", "lm_deluge_batch": "lm-deluge"}


def peers(folder: Path) -> None:
    """CPU and wall of the peers over 5,000 rows at 256 in flight, whole process, zero latency and 100 ms."""
    commands: dict[str, Callable[[str, Path], list[str]]] = {
        "bare loop": lambda port, input_: bare(port, input_, folder, concurrency=256),
        "rowmill": lambda _, input_: rowmill(folder, input_, "out", concurrency=256),
    }
    for name, package in PEERS.items():
        home = ROOT / ".bench" / name
        if not (home / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run([str(home / "bin" / "pip"), "install", "-q", package], check=True)
        script = ROOT / "benchmarks" / "peers" / f"{name}.py"
        python = str(home / "bin" / "python")
        commands[name] = lambda port, input_, python=python, script=script: [
            python, str(script), port, str(input_), "256"
        ]  # fmt: skip
    told: dict[str, list[Cost]] = {}
    for latency_ms in (0, 100):
        with stub(latency_ms) as port:
            for name, command in commands.items():
                costs = [measured(command(port, rows(folder, FEW)), port) for _ in range(3)]
                told.setdefault(name, []).append(
                    Cost(median(c.wall for c in costs), median(c.cpu for c in costs), max(c.peak_mb for c in costs))
                )
    for name, (idle, slow) in told.items():
        print(f"{name}: CPU {idle.cpu:.2f} s ({idle.cpu / told['bare loop'][0].cpu:.1f} x), "
              f"wall at 100 ms {slow.wall:.2f} s ({slow.wall / told['bare loop'][1].wall:.2f} x), "
              f"peak {idle.peak_mb:.0f} MB")  # fmt: skip


def server(folder: Path) -> None:
    """How many requests a second the stub answers two bare loops at once, against what one asks of it."""
    with stub(0) as port:
        alone = measured(bare(port, rows(folder, MANY), folder, concurrency=256), port)
        print(f"the stub: {MANY / alone.wall:,.0f} requests/s while the bare loop used "
              f"{alone.cpu / alone.wall:.0%} of a core: the client is the bottleneck")  # fmt: skip


def guard(folder: Path) -> None:
    """What CI runs: the least ratio of three short runs. Exit 1 where a row has become dear.

    A noisy minute doubles the ratio of the same version: what looks dear is measured again, up to nine times in all.
    """
    ratios: list[float] = []
    with stub(0) as port:
        while len(ratios) < 3 or (min(ratios) > GUARD_RATIO and len(ratios) < 9):
            base, ours = slopes(folder, port, 2_000, many=12_000, concurrency=256)
            ratios.append(ours.cpu / base.cpu)
    ratio = min(ratios)
    print(f"a row costs {ratio:.2f} times the bare loop's CPU (at most {GUARD_RATIO})")
    if ratio > GUARD_RATIO:
        raise SystemExit(1)


SECTIONS: dict[str, Callable[[Path], object]] = {
    "server": server, "per_row": per_row, "stages": stages, "latency": latency, "memory": memory,
    "compaction": compaction, "stock": stock, "moved": moved,
    "ready": ready, "loop": loop, "processes": processes,
    "startup": startup, "quota": lambda _: quota.main(), "peers": peers,
}  # fmt: skip
APART: dict[str, Callable[[Path], object]] = {
    "long": long,
    "guard": guard,
    "kept": kept,
    "forecasts": forecasts.main,
    "oracle": lambda _: oracle.main(),
    "token-fit": lambda _: oracle.fit(),
    "fleet": lambda _: fleet(),
    "thousand": lambda _: thousand(),
    "engine": lambda _: engine.main(),
    "quotes": quotes.main,
    "bucket": lambda _: bucket_cluster.main(),
}


def main() -> None:
    chosen = sys.argv[1:] or list(SECTIONS)
    with tempfile.TemporaryDirectory(prefix="rowmill-bench-") as name:
        for section in chosen:
            began = time.perf_counter()
            print(f"== {section}", flush=True)
            {**SECTIONS, **APART}[section](Path(name))
            print(f"   ({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
