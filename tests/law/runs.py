"""Runs: all that the law knows of the product: its command, and the files it leaves in OUT.

A run is the command itself in a process of its own, forked from one that has imported everything, so that it starts in
milliseconds. Its time passes fast: waits of seconds take hundredths, nothing else of it is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

COMMAND = "rowmill.flows.cli"
# What a run imports on its way; pyarrow imports pandas where that is installed. A name that is none is passed over.
PRELOADED = (
    "rowmill.flows.commands.run", "rowmill.flows.orchestration.pipeline", "rowmill.flows.text.summary",
    "rowmill.tasks.run.run", "rowmill.tasks.labelling.label_run", "rowmill.tasks.labelling.quality",
    "pandas", "pyarrow.pandas_compat", "dateutil", "_strptime", "uvloop",
)  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = ROOT / "schemas" / "catalogue.toml"
# Seconds of a run's time in one second of the machine's.
HASTE = 50.0
HUNG_S = 30.0
PICO = 10**12
STATUSES = ("ok", "invalid", "refused", "failed", "unreadable")
ENDED = "ended"


@dataclass(frozen=True)
class Ended:
    """A run that ended: its exit code (minus the signal's number where one killed it), stderr, seconds it took."""

    pid: int
    code: int
    err: str
    seconds: float

    @property
    def was_killed(self) -> bool:
        return self.code < 0


class Hung(Exception):
    """A run did not end."""

    kind = "every run ends"
    walk: Any = None


class Runner:
    """Starts runs. One process with everything imported, which forks."""

    def __init__(self) -> None:
        # Not the tests' own process: that has threads, and a fork would copy their locks.
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.law.runs"],
            cwd=ROOT,
            env={**_environment(), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path, base_url: str, *args: str) -> Ended:
        """Run the command in a folder. Raises Hung."""
        began = time.perf_counter()
        errors = folder / "stderr.txt"
        self._tell({"args": args, "folder": str(folder), "base_url": base_url, "errors": str(errors)})
        pid = self._hear(None)
        code = self._hear(pid)
        return Ended(pid, code, errors.read_text(errors="replace"), time.perf_counter() - began)

    def _tell(self, told: Mapping[str, Any]) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(told) + "\n")
        self._server.stdin.flush()

    def _hear(self, pid: int | None) -> int:
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], HUNG_S)[0]:
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                self._server.stdout.readline()
            raise Hung(f"a run did not end within {HUNG_S:.0f} s")
        return int(self._server.stdout.readline())

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(10)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("ROWMILL_", "PREFECT_"))}


def _serve() -> None:
    """Fork a run for each line on stdin; answer with its pid, and with its exit code."""
    _hasten()
    command = importlib.import_module(COMMAND).main
    for name in PRELOADED:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    _warm_up(command)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        told = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(command, told)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _warm_up(command: Any) -> None:
    """Check a job, which sends nothing: what is compiled once in a process is then compiled for all runs."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        job = Path(folder, "job.json")
        told = {"model": "gemini-3-pro", "input": "rows.jsonl", "output": "out", "prompt": "Say {{ text }}"}
        job.write_text(json.dumps({**told, "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}))
        Path(folder, "rows.jsonl").write_text('{"text": "a"}\n')
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            with contextlib.redirect_stdout(nowhere):
                command(["check", str(job)])
            with contextlib.suppress(ImportError):
                importlib.import_module("uvloop").new_event_loop().close()


def _hasten() -> None:
    """Let a process's time pass faster: waits are shorter, and the clock agrees."""
    now, sleep = time.monotonic, asyncio.sleep

    async def short_sleep(delay: float, result: Any = None) -> Any:
        return await sleep(delay / HASTE, result)

    time.monotonic = lambda: now() * HASTE
    asyncio.sleep = short_sleep


def _run(command: Any, told: Mapping[str, Any]) -> None:
    """The forked process, to its end."""
    os.setsid()
    os.chdir(told["folder"])
    errors = os.open(told["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd, onto in ((nothing, 0), (nothing, 1), (errors, 2)):
        os.dup2(fd, onto)
    # The key names the process, so that the gateway knows whom to signal.
    os.environ.update(ROWMILL_BASE_URL=told["base_url"], ROWMILL_API_KEY=f"sk-law-abcdefgh-{os.getpid()}")
    try:
        code = command([*told["args"], "--direct", "--no-report"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


# The files in OUT.


def manifest(out: Path) -> dict[str, Any] | None:
    """run.json, where there is one."""
    try:
        told: dict[str, Any] = json.loads((out / "run.json").read_text())
    except FileNotFoundError:
        return None
    return told


def results(out: Path) -> list[dict[str, Any]]:
    """All results rows in the order of the parts."""
    parts = sorted((out / "results").glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part, use_threads=False).to_pylist()]


def pico(value: Any) -> int:
    """A decimal of USD → 10⁻¹² USD."""
    return int(Decimal(str(value)) * PICO)


def known_usd(told: Mapping[str, Any]) -> int:
    """What a manifest knows to be paid, rows and beside, in 10⁻¹² USD."""
    return pico(told["totals"]["cost_usd"]) + pico(told["beside"]["cost_usd"])


def bound_usd(told: Mapping[str, Any]) -> int:
    """What may be paid beyond that at most, in 10⁻¹² USD."""
    return pico(told["totals"]["unknown_cost_bound_usd"]) + pico(told["beside"]["unknown_cost_bound_usd"])


if __name__ == "__main__":
    _serve()
