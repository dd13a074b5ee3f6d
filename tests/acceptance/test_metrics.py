"""Metrics for Prometheus, spans for OpenTelemetry, and a dashboard: read off a real run, by its own words."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from rowmill.flows.orchestration.metrics import METRICS, metrics_at
from rowmill.schemas.errors import JobError
from tests.acceptance.test_run import direct, numbered
from tests.conftest import PERSON, Bench
from tests.gateways import Ask, Reply, serving
from tests.http_thread import served

ROOT = Path(__file__).resolve().parents[2]
GOOD = '{"name": "n", "n": 1}'


def samples(text: str) -> dict[tuple[str, ...], float]:
    """What an exposition holds: name and labels' values (the run's name left out) → value."""
    return {
        (one.name, *(value for name, value in sorted(one.labels.items()) if name != "run")): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_run_is_read_while_it_works_and_leaves_its_end(bench: Bench) -> None:
    """Served on the loopback while it works: rows, calls by verdict, in flight, cost, limits. A textfile holds the same
    when it is over, equal to run.json, with the kind of its end.
    """
    port, seen = free_port(), []

    def answer(ask: Ask) -> Reply:
        if len(gateway.asks) == 30:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
                seen.append(page.read().decode())
        if "number 7" in ask.prompt and not ask.seen:
            return Reply(status=500)
        return Reply(text=GOOD if "number 5" not in ask.prompt else "{}")

    with serving() as gateway:
        gateway.script = answer
        bench.rows(numbered(60))
        bench.job(id="id", name="metered", schema=PERSON, limits={"concurrency": 4, "rpm": 60_000}, retries={"content": 0},
                  max_cost_usd=5, params={"max_output_tokens": 400})  # fmt: skip
        ended = direct(bench, gateway.url, "--metrics", f":{port}")
        assert ended.code == 3, ended.err
        live = samples(seen[0])
        assert 0 < live["rowmill_rows", "ok"] < 60
        assert live["rowmill_rows_known",] == 60
        assert live["rowmill_calls_in_flight",] >= 1
        assert live["rowmill_calls_total", "answered"] >= 20
        assert live["rowmill_cost_cap_usd",] == 5
        assert live["rowmill_limit_allowed", "rpm"] == 60_000
        assert {value for key, value in live.items() if key[0] == "rowmill_ended"} == {0}
        assert 'run="metered"' in seen[0]
        path = bench.folder / "rowmill.prom"
        ended = direct(bench, gateway.url, "--fresh", "--metrics", str(path))
        over, manifest = samples(path.read_text()), ended.manifest
        for status in ("ok", "invalid", "failed"):
            assert over["rowmill_rows", status] == manifest["ledger"][status]
        assert (
            sum(value for key, value in over.items() if key[0] == "rowmill_calls_total") == manifest["totals"]["calls"]
        )
        assert over["rowmill_cost_usd",] == pytest.approx(float(manifest["totals"]["cost_usd"]))
        assert over["rowmill_ended", "complete"] == 1
        assert {key[0].removesuffix("_total") for key in over} <= set(METRICS)
        path.unlink()
        ended = direct(bench, gateway.url, "--metrics", str(path))
        idle = samples(path.read_text())
        assert idle["rowmill_rows", "ok"] == manifest["ledger"]["ok"]
        assert idle["rowmill_ended", "complete"] == 1


def test_addresses_that_cannot_be_used_are_refused_or_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A flag is refused before anything is sent; what the environment says for many runs is a warning."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = f":{taken.getsockname()[1]}"
        for address, words in ((busy, "cannot be served"), (":0", "no port"), (":70000", "no port"),
                               ("metrics", "neither a port"), (str(tmp_path / "gone/x.prom"), "cannot be written")):  # fmt: skip
            with pytest.raises(JobError, match=words), metrics_at(address):
                pass
        monkeypatch.setenv("ROWMILL_METRICS", busy)
        with metrics_at(None) as metrics:
            assert metrics is None
    assert "no metrics" in caplog.text
    monkeypatch.delenv("ROWMILL_METRICS")
    with metrics_at(None) as metrics:
        assert metrics is None


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """An OTLP collector: its address, and the spans that came."""
    spans: list[Any] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            told = ExportTraceServiceRequest.FromString(body)
            spans.extend(span for one in told.resource_spans for scope in one.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Take)) as http:
        yield f"http://127.0.0.1:{http.server_address[1]}", spans


@pytest.mark.nightly
def test_a_run_and_its_shards_are_spans(bench: Bench) -> None:
    """Where the environment names a collector: a span for the run, in it one for each shard with its rows and its cost."""
    with serving(lambda ask: Reply(text=GOOD)) as gateway, collector() as (address, spans):
        bench.rows(numbered(30))
        bench.job(id="id", name="traced", schema=PERSON)
        ended = direct(bench, gateway.url, OTEL_EXPORTER_OTLP_ENDPOINT=address)
        assert ended.code == 0, ended.err
        by_name = {span.name: span for span in spans}
        assert by_name.keys() == {"run traced", "rows 0-29"}
        shard = by_name["rows 0-29"]
        assert shard.parent_span_id == by_name["run traced"].span_id
        told = {one.key: one.value for one in shard.attributes}
        assert told["rowmill.rows.ok"].int_value == 30
        assert told["rowmill.calls"].int_value == 30
        assert told["rowmill.cost_usd"].string_value == ended.manifest["totals"]["cost_usd"]


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    """Every query of the Grafana dashboard names metrics that a run has, and every metric is in it; panels do not overlap."""
    told = json.loads((ROOT / "dashboards/grafana.json").read_text())
    there = {f"{one.name}_total" if one.counts_up else one.name: one for one in METRICS.values()}
    asked = set()
    for panel in told["panels"]:
        for target in panel["targets"]:
            names = set(re.findall(r"rowmill_\w+", target["expr"]))
            assert names <= set(there), target["expr"]
            labels = {label for name in names for label in there[name].labels} | {"run"}
            used = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) | set(re.findall(r"(\w+)!?=", target["expr"]))
            assert used <= labels, target
            assert target["datasource"]["uid"] == "${datasource}"
            asked |= names
    assert asked == set(there)
    assert {one["name"] for one in told["templating"]["list"]} == {"datasource", "run"}
    assert len({panel["id"] for panel in told["panels"]}) == len(told["panels"])
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in told["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
