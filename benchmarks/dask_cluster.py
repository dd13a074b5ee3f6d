"""A Dask cluster of real processes on loopback, for as long as a block lasts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where a process of its own finds rowmill and the benchmarks.
PYTHONPATH = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
START_S = 60.0


@dataclass
class Cluster:
    """Where the scheduler listens, and the processes by their place."""

    address: str
    scheduler: subprocess.Popen[str]
    environment: dict[str, str]
    folder: Path
    workers: list[subprocess.Popen[str]] = field(default_factory=list)

    def start_worker(self, **more: str) -> subprocess.Popen[str]:
        """One worker process with one thread; it is connected when this returns."""
        log = open(self.folder / f"worker-{len(self.workers)}.log", "w+")  # noqa: SIM115 (the process writes it)
        worker = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--no-nanny", "--nthreads", "1",
             "--no-dashboard", "--host", "127.0.0.1", "--local-directory", str(self.folder)],
            env={**self.environment, **more}, cwd=self.folder, stdout=log, stderr=log, text=True,
        )  # fmt: skip
        self.workers.append(worker)
        _wait_for(Path(log.name), "Registered to:")
        return worker


@contextmanager
def running(workers: int, folder: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    """A scheduler and its workers, which know this project and the environment told; ended by their ids."""
    environment = {
        **os.environ,
        "PYTHONPATH": PYTHONPATH,
        "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "0",
        **environment,
    }
    log = open(folder / "scheduler.log", "w+")  # noqa: SIM115 (the process writes it)
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--no-jupyter"],
        env=environment, cwd=folder, stdout=log, stderr=log, text=True,
    )  # fmt: skip
    cluster = None
    try:
        address = _wait_for(Path(log.name), r"Scheduler at:\s+(tcp://[0-9.:]+)")
        cluster = Cluster(address, scheduler, environment, folder)
        starting = [threading.Thread(target=cluster.start_worker) for _ in range(workers)]
        for thread in starting:
            thread.start()
            time.sleep(0.05)
        for thread in starting:
            thread.join()
        yield cluster
    finally:
        for process in [*(cluster.workers if cluster else []), scheduler]:
            if process.poll() is None:
                process.kill()
            process.wait()


def _wait_for(log: Path, words: str) -> str:
    """What the process has said of these words, as soon as it says them."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if (found := re.search(words, log.read_text())) is not None:
            return found[found.lastindex or 0]
        time.sleep(0.05)
    raise RuntimeError(f"{log}: {words!r} was not said:\n{log.read_text()}")
