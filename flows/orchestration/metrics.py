"""Metrics: what a run does, for Prometheus: served at a port of this machine, or written to a textfile.

They are read off the run when somebody asks, so they cost its rows nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rowmill.schemas.display_text import one_line
from rowmill.schemas.errors import JobError
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.outcome import Status
from rowmill.schemas.price import PICO
from rowmill.schemas.termination import TerminationKind
from rowmill.tasks.gateway.admission.traffic import USUAL

if TYPE_CHECKING:
    from rowmill.flows.orchestration.pipeline import Watch
    from rowmill.tasks.run.run import OpenRun, Run

LOOPBACK = "127.0.0.1"
WRITE_S = 10.0
VARIABLE = "ROWMILL_METRICS"
HINT = "write it as :9464, 0.0.0.0:9464, or the path of a .prom file"
log = logging.getLogger("rowmill")


@dataclass(frozen=True, slots=True)
class Metric:
    """One family: its name, what it counts, its labels beside `run`, and whether it only grows."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    counts_up: bool = False


METRICS = {
    one.name: one
    for one in (
        Metric("rowmill_rows", "Rows of the output that are settled, by status", ("status",)),
        Metric("rowmill_rows_known", "Rows of the input that are known so far"),
        Metric("rowmill_rows_retrying", "Rows that failed at least once and are not settled yet"),
        Metric("rowmill_calls", "Calls of this run that ended: answered, or the kind of failure", ("verdict",), True),
        Metric("rowmill_calls_in_flight", "Calls in flight"),
        Metric("rowmill_calls_allowed_in_flight", "Calls that may be in flight"),
        Metric("rowmill_cost_usd", "Cost of the output's rows"),
        Metric("rowmill_projected_cost_usd", "What the whole output will have cost; none while nothing tells"),
        Metric("rowmill_cost_cap_usd", "The cap on the output's cost; none without one"),
        Metric("rowmill_limit_used", "Requests (rpm) and tokens (tpm) a minute", ("limit",)),
        Metric("rowmill_limit_allowed", "What the job allows of them; none without a limit", ("limit",)),
        Metric("rowmill_waiting", "1 for what calls wait for now", ("reason",)),
        Metric("rowmill_seconds_running", "Seconds since the run began"),
        Metric("rowmill_ended", "1 for how the run ended; all 0 while it goes on", ("kind",)),
    )
}
# Why calls may have to wait, as the display tells it; another reason stands under its own name.
REASONS = ("outage", "first call", "concurrency", "rate limit", "budget", "spend limit")


class RunMetrics:
    """The metrics of one run, once it is open: a collector of prometheus-client's."""

    def __init__(self) -> None:
        self._run: Run | None = None
        # What follows a run that has rows to settle, for as long as it lasts.
        self.watch: Watch = self._watch

    def follow(self, run: Run) -> None:
        """Tell of this run from now on, also where it finds nothing to do."""
        self._run = run

    async def _watch(self, run: OpenRun) -> None:
        self.follow(run)

    def values(self) -> Iterator[tuple[Metric, list[str], float]]:
        """Each sample: its metric, its labels' values, its value."""
        if self._run is None:
            return
        if self._run.nothing_to_do:
            yield from _standing(self._run.manifest)
        else:
            yield from _live(cast("OpenRun", self._run))

    def collect(self) -> Iterable[Any]:
        """Families as prometheus-client exposes them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        name = one_line(self._run.job.name) if self._run is not None else ""
        families: dict[str, Any] = {}
        for metric, labels, value in self.values():
            kind = CounterMetricFamily if metric.counts_up else GaugeMetricFamily
            family = families.get(metric.name)
            if family is None:
                family = families[metric.name] = kind(metric.name, metric.help, labels=["run", *metric.labels])
            family.add_metric([name, *labels], value)
        return families.values()


def _live(run: OpenRun) -> Iterator[tuple[Metric, list[str], float]]:
    """Of a run that has rows to settle."""
    progress, traffic, limits = run.progress, run.background.traffic(), run.job.limits
    by_status = dict(progress.by_status)
    for status in Status:
        yield METRICS["rowmill_rows"], [status.value], by_status.get(status.value, 0)
    yield METRICS["rowmill_rows_known"], [], progress.total
    yield METRICS["rowmill_rows_retrying"], [], traffic.retrying
    for verdict, count in sorted(dict(traffic.verdicts).items()):
        yield METRICS["rowmill_calls"], [verdict], count
    yield METRICS["rowmill_calls_in_flight"], [], traffic.in_flight
    yield METRICS["rowmill_calls_allowed_in_flight"], [], traffic.limit
    yield METRICS["rowmill_cost_usd"], [], progress.spent_usd / PICO
    if (projected := progress.projected_usd) is not None:
        yield METRICS["rowmill_projected_cost_usd"], [], projected / PICO
    if progress.cap_usd is not None:
        yield METRICS["rowmill_cost_cap_usd"], [], progress.cap_usd / PICO
    for limit, used, allowed in (("rpm", traffic.calls, limits.rpm), ("tpm", traffic.tokens, limits.tpm)):
        yield METRICS["rowmill_limit_used"], [limit], used
        if allowed is not None:
            yield METRICS["rowmill_limit_allowed"], [limit], allowed
    waits = _reason(traffic.waiting_for)
    for reason in (*REASONS, *([] if waits is None or waits in REASONS else [waits])):
        yield METRICS["rowmill_waiting"], [reason], float(reason == waits)
    yield METRICS["rowmill_seconds_running"], [], max(0.0, run.clock.now() - progress.started_at)
    ended = run.manifest.kind if run.manifest is not None else None
    for kind in TerminationKind:
        yield METRICS["rowmill_ended"], [kind.value], float(kind == ended)


def _standing(manifest: Manifest | None) -> Iterator[tuple[Metric, list[str], float]]:
    """Of an output that is complete already."""
    if manifest is None:
        return
    ledger = manifest.ledger.by_name()
    for status in Status:
        yield METRICS["rowmill_rows"], [status.value], ledger[status.value]
    yield METRICS["rowmill_rows_known"], [], ledger["rows"]
    if manifest.totals.cost_usd is not None:
        yield METRICS["rowmill_cost_usd"], [], float(manifest.totals.cost_usd)
    for kind in TerminationKind:
        yield METRICS["rowmill_ended"], [kind.value], float(kind.value == manifest.kind)


def _reason(waiting_for: str | None) -> str | None:
    """Why calls wait, without what changes from moment to moment."""
    if waiting_for is None or (waiting_for in USUAL and waiting_for != "concurrency"):
        return None
    return next((reason for reason in REASONS if waiting_for.startswith(reason)), waiting_for)


@contextmanager
def metrics_at(address: str | None) -> Iterator[RunMetrics | None]:
    """The metrics of a run for whoever reads them at this address; None where none is named.

    Raises JobError, before anything is sent, for an address that cannot be used or without prometheus-client. One that
    the environment names (`ROWMILL_METRICS`) is for many runs, and where it cannot be used that is a warning.
    """
    with ExitStack() as stack:
        metrics = None
        if address is not None:
            metrics = stack.enter_context(_open(address))
        elif standing := os.environ.get(VARIABLE):
            try:
                metrics = stack.enter_context(_open(standing))
            except JobError as error:
                log.warning("no metrics: %s", error)
        yield metrics


@contextmanager
def _open(address: str) -> Iterator[RunMetrics]:
    try:
        from prometheus_client import CollectorRegistry
    except ImportError:
        raise JobError(
            "metrics need the prometheus-client package", where="--metrics", hint="pip install 'rowmill[metrics]'"
        ) from None
    metrics, registry = RunMetrics(), CollectorRegistry()
    registry.register(metrics)
    if (place := _host_and_port(address)) is None:
        with _textfile(Path(address), metrics, registry):
            yield metrics
        return
    with _served(*place, registry):
        yield metrics


def _host_and_port(address: str) -> tuple[str, int] | None:
    """Where to serve; None for the path of a textfile. Raises JobError for what is neither."""
    host, _, port = address.rpartition(":")
    if port.isascii() and port.isdigit() and "/" not in host:
        if not 0 < int(port) < 65_536:
            raise JobError(f"{port} is no port", where="--metrics", hint=HINT)
        return host.strip("[]") or LOOPBACK, int(port)
    if not address.endswith(".prom"):
        raise JobError(f"{address!r} is neither a port nor a .prom file", where="--metrics", hint=HINT)
    return None


@contextmanager
def _served(host: str, port: int, registry: Any) -> Iterator[None]:
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise JobError(
            f"metrics cannot be served at {host}:{port}: {error.strerror or error}",
            where="--metrics",
            hint="name another port, or the path of a .prom file",
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _textfile(path: Path, metrics: RunMetrics, registry: Any) -> Iterator[None]:
    """A file that is replaced every ten seconds, and holds the run's end when it is over."""
    from prometheus_client import write_to_textfile

    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise JobError(
            f"metrics cannot be written: {error.strerror or error}", where=str(path), hint="name a folder that is there"
        ) from None

    def write() -> None:
        try:
            write_to_textfile(str(path), registry)
        except OSError as error:
            log.warning("metrics could not be written to %s: %s", path, error.strerror or error)

    async def watch(run: OpenRun) -> None:
        metrics.follow(run)
        while True:
            await asyncio.to_thread(write)
            await asyncio.sleep(WRITE_S)

    metrics.watch = watch
    try:
        yield
    finally:
        write()


def both(first: Watch | None, second: Watch | None) -> Watch | None:
    """Two that watch a run, as one."""
    if first is None or second is None:
        return first or second

    async def watch(run: OpenRun) -> None:
        await asyncio.gather(first(run), second(run))

    return watch
