"""Runs: all that the law knows of the product: its command, its workers, and what it tells of itself in run.json.

A run is the command itself in a process of its own, forked from one that has imported everything, so that it starts in
milliseconds; so is a scheduler of Dask, and each of its workers. Time passes fast there: waits of seconds take
hundredths. A shard may have few rows. Nothing else is changed.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.forks import Forks, Started, plain_environment

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
    """Starts runs, and on a cluster the processes of Dask."""

    def __init__(self) -> None:
        self._forks = Forks("tests.law.hasty")
        self._cluster: Forks | None = None
        self._others: list[Started] = []

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
        began = time.perf_counter()
        told = json.dumps({"shard_rows": shard_rows, "haste": haste})
        environment = {**plain_environment(), "ROWMILL_BASE_URL": base_url, **(environment or {})}
        forks = self._cluster or self._forks
        with forks.start([told, *args], folder=folder, environment=environment) as started:
            begun(started.pid)
            try:
                code, _, err = started.communicate(HUNG_S)
            except subprocess.TimeoutExpired:
                raise Hung(f"a run did not end within {HUNG_S:.0f} s") from None
            return Ended(started.pid, code, err, time.perf_counter() - began)

    def start(
        self, what: str, folder: Path, *args: str, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Start a scheduler, or a worker of the one told. Returns its pid and its address, once it has that."""
        self._cluster = self._cluster or Forks("tests.law.hasty_dask")
        told = json.dumps({"what": what, "haste": HASTE_ON_CLUSTERS})
        environment = {**plain_environment(), "ROWMILL_API_KEY": CLUSTER_KEY, **(environment or {})}
        started = self._cluster.start([told, *args], folder=folder, environment=environment)
        self._others.append(started)
        if not select.select([started.stdout], [], [], HUNG_S)[0] or not (address := started.stdout.readline()):
            raise Hung(f"no {what} within {HUNG_S:.0f} s")
        return started.pid, address.decode().strip()

    def close(self) -> None:
        for forks in (self._forks, self._cluster):
            if forks is not None:
                forks.close()
        for other in self._others:
            # Some were killed on the way.
            with contextlib.suppress(ProcessLookupError):
                other.kill()


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
