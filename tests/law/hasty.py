"""Hasty: the command, and the processes of Dask, in time that passes fast."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rowmill.flows.cli import main as command
from tests import forks

# What a run imports on its way, beside what every command does; pyarrow imports pandas where that is installed. A name
# that is none is passed over.
PRELOADED = ("obstore.store", "pandas", "pyarrow.pandas_compat", "dateutil", "_strptime", "uvloop")

WAITS = (
    ("rowmill.tasks.output.bucket.mirror", "RENEW_S"),
    ("rowmill.tasks.output.bucket.lease", "LOOK_S"),
    ("rowmill.tasks.cluster.lease_holder", "BEAT_S"),
    ("rowmill.tasks.cluster.lease_beats", "BEAT_S"),
)


def prepare() -> None:
    """Import and compile once what all runs would."""
    forks.prepare()
    import_all(PRELOADED)
    _warm_up()


def main(args: Sequence[str]) -> int:
    """What is told as JSON, with the arguments that follow: a run of the command, or a process of Dask."""
    told = json.loads(args[0])
    # The key names the process, so that the gateway knows whom to signal.
    os.environ.setdefault("ROWMILL_API_KEY", f"sk-law-abcdefgh-{os.getpid()}")
    _hasten(told["haste"])
    if "what" in told:
        asyncio.run(_be_dask(told["what"], *args[1:]))
        return 0
    if told["shard_rows"]:
        _change("rowmill.tasks.input.shard_cut", "SMALL_SHARD", told["shard_rows"])
    return command([*args[1:], "--direct", "--no-report"])


def import_all(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)


def _warm_up() -> None:
    """Check a job, which sends nothing."""
    told = {"model": "gemini-3-pro", "input": "rows.jsonl", "output": "out", "prompt": "Say {{ text }}"}
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        job = Path(folder, "job.json")
        job.write_text(json.dumps({**told, "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}))
        Path(folder, "rows.jsonl").write_text('{"text": "a"}\n')
        with contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
            command(["check", str(job)])
    # Each run says what it says where its own stderr is, and not where this one's was.
    logging.root.handlers.clear()
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
    # Those that wait by no clock of ours.
    for module, name in WAITS:
        _change(module, name, getattr(importlib.import_module(module), name) / haste)


def _change(module: str, name: str, value: Any) -> None:
    """Set what stands in a module. Raises AttributeError where nothing of that name stands there any more."""
    home = importlib.import_module(module)
    getattr(home, name)
    setattr(home, name, value)


async def _be_dask(what: str, *args: str) -> None:
    """A scheduler or a worker, until it is killed. It prints its address; what it logs stands in its folder."""
    with open(f"{what}.log", "ab") as log:
        os.dup2(log.fileno(), 2)
    distributed = importlib.import_module("distributed")
    if what == "scheduler":
        server = distributed.Scheduler(host="127.0.0.1", port=0, dashboard=False)
    else:
        server = distributed.Worker(args[0], nthreads=1, host="127.0.0.1", dashboard=False, local_directory=".")
    async with server:
        print(server.address, flush=True)
        await server.finished()
