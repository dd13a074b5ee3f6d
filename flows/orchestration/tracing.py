"""Tracing: a span for each run and each of its shards, where the environment names an OpenTelemetry collector.

Without `OTEL_EXPORTER_OTLP_ENDPOINT` nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rowmill.schemas.display_text import one_line
from rowmill.schemas.price import decimal_string

if TYPE_CHECKING:
    from rowmill.schemas.row import Shard
    from rowmill.tasks.run.run import OpenRun
    from rowmill.tasks.run.shard_runner import ShardReport

VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# What a collector that does not answer may hold up a run's end.
FLUSH_S = 5.0
log = logging.getLogger("rowmill")


class Tracing:
    """The spans of one run; it does nothing where nobody asked for them."""

    def __init__(self, tracer: Any = None) -> None:
        self._tracer = tracer

    @contextmanager
    def run(self, run: OpenRun) -> Iterator[None]:
        """The span of a run."""
        if self._tracer is None:
            yield
            return
        attributes = {"rowmill.job": one_line(run.job.name), "rowmill.model": run.model.name,
                      "rowmill.run_id": run.plan.run_id}  # fmt: skip
        with self._tracer.start_as_current_span(f"run {one_line(run.job.name)}", attributes=attributes) as span:
            yield
            if run.gate.termination is not None:
                span.set_attribute("rowmill.end", run.gate.termination.kind.value)
                span.set_status(_error(), run.gate.termination.message)

    @contextmanager
    def shard(self, shard: Shard) -> Iterator[list[ShardReport]]:
        """The span of a shard; its report is handed in by the list."""
        reports: list[ShardReport] = []
        if self._tracer is None:
            yield reports
            return
        name = f"rows {shard.first_row}-{shard.last_row}"
        with self._tracer.start_as_current_span(name, attributes={"rowmill.rows": shard.rows}) as span:
            yield reports
            for report in reports:
                spent = report.tally.spent
                span.set_attribute("rowmill.calls", spent.calls)
                span.set_attribute("rowmill.complete", report.complete)
                if spent.cost is not None:
                    span.set_attribute("rowmill.cost_usd", decimal_string(spent.cost.usd))
                for status, count in report.tally.by_status.items():
                    span.set_attribute(f"rowmill.rows.{status}", count)


def _error() -> Any:
    from opentelemetry.trace import StatusCode

    return StatusCode.ERROR


@contextmanager
def tracing() -> Iterator[Tracing]:
    """The spans of a run, sent to the collector that the environment names, by its own settings (OTEL_*).

    A collector that is away, or packages that are not installed, cost a warning and no row.
    """
    if not any(os.environ.get(name) for name in VARIABLES):
        yield Tracing()
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("OpenTelemetry is not installed, and no spans are sent: pip install 'rowmill[tracing]'")
        yield Tracing()
        return
    # A provider of our own: what the process has for itself, and Prefect's, stay as they are.
    service = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "rowmill"}
    provider = TracerProvider(resource=Resource.create(service), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=FLUSH_S)))
    try:
        yield Tracing(provider.get_tracer("rowmill"))
    finally:
        provider.force_flush(int(FLUSH_S * 1_000))
        provider.shutdown()
