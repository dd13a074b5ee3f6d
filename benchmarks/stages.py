"""Stages: what a row costs by where its CPU goes, from samples of a run at zero latency.

A timer of the process's CPU interrupts the main thread, which runs the loop; what that thread has used since goes to
the package whose code is innermost. The other threads are told together.
"""

from __future__ import annotations

import atexit
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from benchmarks.measure import ROOT, environment_of, rowmill, rows, stub

ROWS, FEW = 22_000, 2_000
EVERY_S = 0.001
# Where a path stands in the sources → what people call it; the first that fits.
STAGES = (
    ("tasks/gateway/admission/", "limits, pace, cost held back"),
    ("tasks/gateway/protocols/", "the protocol's form of request and answer"),
    ("tasks/gateway/", "sending and parsing"),
    ("tasks/settle/", "settling: what an answer means, cost, retries"),
    ("tasks/answers/", "decoding and validation"),
    ("tasks/plan/", "planning: prompt, request key"),
    ("tasks/journal/", "the journal"),
    ("tasks/input/", "reading"),
    ("tasks/output/", "parts"),
    ("tasks/run/", "dispatching, progress"),
    ("schemas/", "values: prices, usage, JSON text"),
    # Outermost on the loop's thread: what no other stage is in.
    ("flows/", "the event loop itself"),
)
REST = "other threads: syncing, parts, reading"


class Sampler:
    """Seconds of CPU of the main thread by stage."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        self._stage_of: dict[str, str | None] = {}
        self._last = time.thread_time()

    def begin(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        took, self._last = now - self._last, now
        stage: str | None = None
        while frame is not None and stage is None:
            stage, frame = self._stage(frame.f_code.co_filename), frame.f_back
        self.told[stage or STAGES[-1][1]] += took

    def _stage(self, path: str) -> str | None:
        if path not in self._stage_of:
            self._stage_of[path] = next((name for part, name in STAGES if part in path and "site-p" not in path), None)
        return self._stage_of[path]


def main() -> None:
    """Run rowmill with the words after the first, which names the file that the samples are told in."""
    told, sys.argv = Path(sys.argv[1]), ["rowmill", *sys.argv[2:]]
    from rowmill.flows.cli import main as run

    sampler = Sampler()

    def tell() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        told.write_text(json.dumps({**sampler.told, REST: time.process_time() - time.thread_time()}))

    atexit.register(tell)
    sampler.begin()
    run()


def stages(folder: Path, few: int = FEW, many: int = ROWS) -> None:
    """Microseconds of CPU a row by stage: the slope between a short run and a longer one."""
    told = []
    with stub(0) as port:
        for count in (few, many):
            words = rowmill(folder, rows(folder, count), "out", concurrency=256)[3:]
            file = folder / f"stages{count}.json"
            command = [sys.executable, "-m", "benchmarks.stages", str(file), *words]
            subprocess.run(command, env=environment_of(port), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            told.append(json.loads(file.read_text()))
    less, more = told
    found = {name: (spent - less.get(name, 0.0)) / (many - few) * 1e6 for name, spent in more.items()}
    whole = sum(found.values())
    print(f"a row costs {whole:.0f} µs of CPU:")
    for name, spent in sorted(found.items(), key=lambda one: -one[1]):
        print(f"  {spent:6.1f} µs  {spent / whole:4.0%}  {name}")


if __name__ == "__main__":
    main()
