"""Runs: all that the law knows of the product: its command, its workers, and what it tells of itself in run.json.

A run is the command itself in a process of its own, forked from one that has imported everything, so that it starts in
milliseconds; so is a scheduler of Dask, and each of its workers. Time passes fast there: waits of seconds take
hundredths. A shard may have few rows. Nothing else is changed.
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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

COMMAND = "rowmill.flows.cli"
# What a run imports on its way; pyarrow imports pandas where that is installed. A name that is none is passed over.
PRELOADED = (
    "rowmill.flows.commands.run", "rowmill.flows.orchestration.pipeline", "rowmill.flows.text.summary",
    "rowmill.tasks.run.run", "rowmill.tasks.labelling.label_run", "rowmill.tasks.labelling.quality",
    "rowmill.tasks.output.bucket.mirror", "obstore.store",
    "pandas", "pyarrow.pandas_compat", "dateutil", "_strptime", "uvloop",
)  # fmt: skip
CLUSTER = ("distributed", "rowmill.tasks.cluster.worker", "rowmill.tasks.cluster.backends.dask")
ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = ROOT / "schemas" / "catalogue.toml"
# Seconds of a run's time in one second of the machine's: fewer where a lease between processes has to stand the
# machine's delays.
HASTE, HASTE_IN_BUCKETS, HASTE_ON_CLUSTERS = 50.0, 10.0, 10.0
# On a busy machine what a run imports takes half a minute before the first.
HUNG_S = 120.0
CLUSTER_KEY = "sk-law-cluster-0"
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
    """Starts runs, and on a cluster the processes of Dask. One process with everything imported, which forks."""

    def __init__(self) -> None:
        # Not the tests' own process: that has threads, and a fork would copy their locks.
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.law.runs"],
            cwd=ROOT,
            env={**_environment(), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What was read ahead would not be seen by select.
            bufsize=0,
        )

    def run(
        self,
        folder: Path,
        base_url: str,
        *args: str,
        environment: Mapping[str, str] | None = None,
        shard_rows: int = 0,
        haste: float = HASTE,
        begun: Callable[[int], None] = lambda pid: None,
    ) -> Ended:
        """Run the command in a folder, in time that passes so fast. `begun` hears its pid. Raises Hung."""
        started = time.perf_counter()
        errors = folder / "stderr.txt"
        environment = {"ROWMILL_BASE_URL": base_url, **(environment or {})}
        self._tell(
            args=args,
            folder=str(folder),
            errors=str(errors),
            environment=environment,
            shard_rows=shard_rows,
            haste=haste,
        )
        pid = self._hear(None)
        begun(pid)
        code = self._hear(pid)
        return Ended(pid, code, errors.read_text(errors="replace"), time.perf_counter() - started)

    def start(self, what: str, folder: Path, *args: str) -> tuple[int, str]:
        """Start a scheduler, or a worker of the one told. Returns its pid and its address, once it has that."""
        address = folder / f"{what}.address"
        address.unlink(missing_ok=True)
        log = folder / f"{what}.log"
        self._tell(
            what=what, args=args, folder=str(folder), errors=str(log), environment={"ROWMILL_API_KEY": CLUSTER_KEY},
            haste=HASTE_ON_CLUSTERS,
        )  # fmt: skip
        pid = self._hear(None)
        until = time.monotonic() + HUNG_S
        while not address.exists():
            if time.monotonic() > until:
                raise Hung(f"no {what} within {HUNG_S:.0f} s: {log.read_text()}")
            time.sleep(0.005)
        return pid, address.read_text()

    def _tell(self, **told: Any) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(told).encode() + b"\n")

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
    """Fork a process for each line on stdin; answer with its pid, and for a run with its exit code."""
    command = importlib.import_module(COMMAND).main
    _import(PRELOADED)
    _warm_up(command)
    gc.collect()
    gc.freeze()
    others: list[int] = []
    for line in sys.stdin:
        told = json.loads(line)
        if "what" in told and not others:
            _import(CLUSTER)
        pid = os.fork()
        if pid == 0:
            _be(command, told)
        print(pid, flush=True)
        if "what" in told:
            others.append(pid)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    for pid in others:
        os.kill(pid, signal.SIGKILL)


def _import(names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)


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


def _hasten(haste: float) -> None:
    """Let rowmill's time pass faster: waits are shorter, and its clock agrees. Others' keep theirs."""
    clock = importlib.import_module("rowmill.tasks.system.clock").Clock

    async def short_sleep(self: Any, seconds: float) -> None:
        await asyncio.sleep(seconds / haste)

    clock.now = lambda self: time.monotonic() * haste
    clock.sleep = short_sleep
    mirror = importlib.import_module("rowmill.tasks.output.bucket.mirror")
    mirror.Mirror.__init__.__kwdefaults__["now"] = lambda: time.monotonic() * haste
    lease, holder, beats = (
        importlib.import_module(f"rowmill.tasks.{one}")
        for one in ("output.bucket.lease", "cluster.lease_holder", "cluster.lease_beats")
    )
    # Those that wait by no clock of ours.
    mirror.RENEW_S, lease.LOOK_S = mirror.RENEW_S / haste, lease.LOOK_S / haste
    holder.BEAT_S, beats.BEAT_S = holder.BEAT_S / haste, beats.BEAT_S / haste


def _be(command: Any, told: Mapping[str, Any]) -> None:
    """The forked process, to its end."""
    os.setsid()
    os.chdir(told["folder"])
    errors = os.open(told["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd, onto in ((nothing, 0), (nothing, 1), (errors, 2)):
        os.dup2(fd, onto)
    # The key names the process, so that the gateway knows whom to signal.
    os.environ.update({"ROWMILL_API_KEY": f"sk-law-abcdefgh-{os.getpid()}", **told["environment"]})
    try:
        _hasten(told["haste"])
        if "what" in told:
            asyncio.run(_be_dask(told["what"], *told["args"]))
            code = 0
        else:
            if told["shard_rows"]:
                importlib.import_module("rowmill.tasks.input.shard_cut").SMALL_SHARD = told["shard_rows"]
            code = command([*told["args"], "--direct", "--no-report"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


async def _be_dask(what: str, *args: str) -> None:
    """A scheduler or a worker, until it is killed; its address stands in a file once it has one."""
    distributed = importlib.import_module("distributed")
    if what == "scheduler":
        server = distributed.Scheduler(host="127.0.0.1", port=0, dashboard=False)
    else:
        server = distributed.Worker(args[0], nthreads=1, host="127.0.0.1", dashboard=False, local_directory=".")
    async with server:
        temporary = Path(f"{what}.address.tmp")
        temporary.write_text(server.address)
        temporary.rename(f"{what}.address")
        await server.finished()


# What run.json tells.


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
