"""Loop: how long a run keeps the event loop that it is lent from everybody else, while it opens, asks and closes.

Beside the run a task wakes every few milliseconds; an idle process does the same meanwhile, and its longest gap is what
the machine alone makes of it. CPU of one turn tells what computing takes,
whatever else the machine does; that of the garbage collector is told apart, whose thresholds are the caller's.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import rowmill
from benchmarks.measure import SCHEMA, environment_of, rows, stub

ROWS, LATENCY_MS, CONCURRENCY = 10_000, 100, 64
EVERY_S = 0.002
# Seconds at the beginning and at the end of a run that count as its opening and its closing.
EDGE_S = 1.0


class Gaps:
    """Gaps between two turns of a task that wakes every EVERY_S: when each began, its seconds of wall and CPU, and the
    CPU that the garbage collector took of it.
    """

    def __init__(self) -> None:
        self.found: list[tuple[float, float, float, float]] = []
        self._collected = self._collecting = 0.0

    async def watch(self) -> None:
        gc.callbacks.append(self._note)
        try:
            while True:
                at, cpu, collected = time.perf_counter(), time.thread_time(), self._collected
                await asyncio.sleep(EVERY_S)
                took = time.perf_counter() - at - EVERY_S, time.thread_time() - cpu, self._collected - collected
                self.found.append((at, *took))
        finally:
            gc.callbacks.remove(self._note)

    def _note(self, phase: str, _: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            if phase == "start":
                self._collecting = time.thread_time()
            else:
                self._collected += time.thread_time() - self._collecting


async def watched(work: Callable[[], Awaitable[Any]]) -> tuple[Gaps, float, float]:
    """The gaps beside a piece of work, and when it began and ended."""
    gaps = Gaps()
    watching = asyncio.create_task(gaps.watch())
    await asyncio.sleep(0)
    began = time.perf_counter()
    await work()
    ended = time.perf_counter()
    watching.cancel()
    return gaps, began, ended


def _idle(over: Event, told: Any) -> None:
    async def work() -> None:
        await asyncio.to_thread(over.wait)

    gaps, _, _ = asyncio.run(watched(work))
    told.put(max(wall for _, wall, _, _ in gaps.found))


def loop(folder: Path, count: int = ROWS) -> None:
    """The longest gap of a run's opening, asking and closing, beside an idle loop's; the second finds half settled."""
    input_ = rows(folder, count)
    lines = input_.read_text().splitlines(keepends=True)
    job = rowmill.Job(
        model="gemini-3-pro", input=str(folder / "some.jsonl"), output=str(folder / "loop"), id="id",
        prompt="Say {{ text }}", schema=SCHEMA, limits={"concurrency": CONCURRENCY},
    )  # fmt: skip
    context = multiprocessing.get_context("spawn")
    with stub(LATENCY_MS) as port:
        os.environ.update(environment_of(port))
        for share in (2, 1):
            (folder / "some.jsonl").write_text("".join(lines[: count // share]))
            over, told = context.Event(), context.Queue()
            idle = context.Process(target=_idle, args=(over, told))
            idle.start()
            gaps, began, ended = asyncio.run(watched(lambda: rowmill.run_async(job, progress=False)))
            over.set()
            print(f"{'fresh' if share == 2 else 'half settled'}: an idle loop's longest gap {told.get() * 1e3:.0f} ms")
            idle.join()
            for name, first, last in (
                ("opening", began, began + EDGE_S), ("asking", began + EDGE_S, ended - EDGE_S),
                ("closing", ended - EDGE_S, ended),
            ):  # fmt: skip
                of = [gap for gap in gaps.found if first <= gap[0] < last]
                print(
                    f"  {name}: longest gap {max(gap[1] for gap in of) * 1e3:.0f} ms, most CPU of one turn "
                    f"{max(cpu - collected for _, _, cpu, collected in of) * 1e3:.0f} ms, of a turn's collections "
                    f"{max(gap[3] for gap in of) * 1e3:.0f} ms"
                )  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rowmill-bench-") as name:
        loop(Path(name), *map(int, sys.argv[1:]))
