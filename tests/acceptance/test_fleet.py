"""Runs of one key side by side: their limits are one, and what stops one stops all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import dask_cluster, redis_server
from tests.conftest import KEY, Bench, assert_balanced

pytestmark = pytest.mark.skipif(redis_server.REDIS is None, reason="needs Debian's redis-server")
RPM = 6_000


@pytest.fixture
def redis() -> Iterator[int]:
    with redis_server.running() as port:
        yield port


def start(bench: Bench, base_url: str, name: str, rows: int, redis: int, **keys: Any) -> Any:
    """A run of its own rows into its own output."""
    bench.rows([{"text": f"{name} {n}"} for n in range(rows)], f"{name}.jsonl")
    limits = {"rpm": RPM, "shared": True, "concurrency": 64, **keys.pop("limits", {})}
    bench.job(f"{name}.yaml", input=f"{name}.jsonl", output=name, name=name, limits=limits, **keys)
    return bench.start(
        base_url, "run", f"{name}.yaml", "--direct", "--json", ROWMILL_REDIS_URL=f"redis://127.0.0.1:{redis}"
    )


def end(process: Any, expect: int = 0) -> tuple[dict[str, Any], str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == expect, err
    return json.loads(out), err


def test_two_runs_share_one_quota(bench, sandboxes, redis):
    """Two runs of one key use 97 % of its rate together, half each, and draw at most one 429 in 1,000 calls."""
    sandbox = sandboxes(rpm=RPM, limit_window="bucket", detail=True, latency_ms=50)
    processes = [start(bench, sandbox.base_url, name, 1_000, redis) for name in ("one", "two")]
    told = [end(process)[0] for process in processes]
    for name, manifest in zip(("one", "two"), told, strict=True):
        assert_balanced(manifest, bench.results(name))
        assert manifest["ledger"]["ok"] == 1_000
    books = sandbox.books(detail=True)
    calls = sorted((one["at"], one["text"].split()[1], one["status"]) for one in books["detail"])
    refused = sum(status == 429 for _, _, status in calls)
    assert refused <= len(calls) / 1_000 + 1
    # While both were at it: from when the later had its share to when the first was done.
    first = {name: min(at for at, who, _ in calls if who == name) for name in ("one", "two")}
    last = {name: max(at for at, who, _ in calls if who == name) for name in ("one", "two")}
    begin, finish = max(first.values()) + 3, min(last.values())
    together = [who for at, who, status in calls if begin <= at < finish and status == 200]
    assert finish - begin > 5
    assert len(together) / (finish - begin) > 0.97 * RPM / 60
    assert 0.4 < together.count("one") / len(together) < 0.6


def test_a_run_alone_has_the_whole_quota(bench, sandboxes, redis):
    """With nobody to share with, a run goes by the key's whole limit after its first beats."""
    sandbox = sandboxes(rpm=RPM, limit_window="bucket")
    began = time.monotonic()
    manifest, _ = end(start(bench, sandbox.base_url, "alone", 1_000, redis))
    assert manifest["ledger"]["ok"] == 1_000
    assert time.monotonic() - began < 1_000 / (RPM / 60) + 6
    assert "rate_limit_exceeded" not in manifest["totals"]["retries"]


def test_a_spend_limit_stops_every_run_of_the_key(bench, sandboxes, redis):
    """What one run is refused for all: the others stop within a beat, having met the limit by few calls."""
    sandbox = sandboxes(latency_ms=40)
    names = ("one", "two", "three")
    keys = {"params": {"max_output_tokens": 300}, "limits": {"concurrency": 4}}
    processes = [start(bench, sandbox.base_url, name, 3_000, redis, **keys) for name in names]
    while sandbox.books()["billed_calls"] < 200:
        time.sleep(0.05)
    sandbox.change(spend_limit_usd="0.000001")
    for name, process in zip(names, processes, strict=True):
        manifest, _ = end(process, expect=4)
        assert manifest["termination"]["kind"] == "spend_limit"
        assert_balanced(manifest, bench.results(name))
    assert sandbox.books()["calls_by_status"]["429 spend_limit_exceeded"] <= 3 * 4


@pytest.mark.nightly
def test_a_run_on_workers_divides_its_share(bench, sandboxes, redis, tmp_path):
    """A run whose rows workers ask, beside one that asks its own: together they go by the key's limit."""
    sandbox = sandboxes(rpm=RPM, limit_window="bucket", latency_ms=50)
    folder = tmp_path / "cluster"
    folder.mkdir()
    with dask_cluster.running(2, folder, {"ROWMILL_API_KEY": KEY}) as cluster:
        told = {"runner": "dask", "scheduler": cluster.address}
        processes = [
            start(bench, sandbox.base_url, "one", 900, redis),
            start(bench, sandbox.base_url, "two", 900, redis, **told),
        ]
        for name, process in zip(("one", "two"), processes, strict=True):
            manifest, _ = end(process)
            assert manifest["ledger"]["ok"] == 900
            assert_balanced(manifest, bench.results(name))
    statuses = sandbox.books()["calls_by_status"]
    assert statuses.get("429 rate_limit_exceeded", 0) <= 1_800 / 1_000 + 2


def test_a_store_lost_in_the_middle_costs_no_row(bench, sandboxes):
    """When the store dies the runs keep their shares, never above them, say so, and end; a store that comes back is used."""
    with redis_server.running() as port:
        sandbox = sandboxes(rpm=RPM, limit_window="bucket", latency_ms=20)
        processes = [start(bench, sandbox.base_url, name, 1_000, port) for name in ("one", "two")]
        while sandbox.books()["billed_calls"] < 600:
            time.sleep(0.05)
    told = [end(process) for process in processes]
    for manifest, err in told:
        assert manifest["ledger"]["ok"] == 1_000
        assert f"redis://127.0.0.1:{port}: the store of shared limits is lost" in err
        assert manifest["totals"]["retries"].get("rate_limit_exceeded", 0) <= 3


@pytest.mark.parametrize(
    ("limits", "url", "said"),
    [
        ({"rpm": 60, "shared": True}, None, "ROWMILL_REDIS_URL: limits.shared needs a store"),
        (
            {"rpm": 60, "shared": True},
            "redis://user:hidden@127.0.0.1:9/0",
            "redis://127.0.0.1:9/0: the store of shared",
        ),
        ({"rpm": 60, "shared": True}, "nonsense", "ROWMILL_REDIS_URL: no address of a Redis"),
        ({"shared": True}, None, "shared limits need rpm or tpm"),
        ({"rpm": 60, "shared": True, "window": "sliding"}, None, "shared limits go evenly"),
    ],
)
def test_shared_limits_that_cannot_be_held_are_refused(bench, sandboxes, limits, url, said):
    """No store, one that does not answer, or limits that cannot be shared: exit 2 before a call, the address named."""
    sandbox = sandboxes()
    bench.rows([{"text": "t"}])
    bench.job(limits=limits)
    more = {} if url is None else {"ROWMILL_REDIS_URL": url}
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", **more)
    assert ended.code == 2
    assert said in ended.err
    assert "hidden" not in ended.err
    assert "Traceback" not in ended.err
    assert sandbox.books()["calls"] == 0
    assert not list(Path(bench.folder).rglob("part-*"))


def test_a_rehearsal_needs_no_store(bench):
    """Against the sandbox a job with shared limits runs without a store, and says that it goes alone."""
    bench.rows([{"text": "t"}])
    bench.job(limits={"rpm": 600, "shared": True})
    ended = bench.run("", "run", "job.yaml", "--sandbox", "--direct")
    assert ended.code == 0, ended.err
    assert "goes by its limits alone" in ended.err
