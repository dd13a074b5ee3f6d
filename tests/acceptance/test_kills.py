"""kill -9 at any moment: nothing paid for is lost, nothing stands twice."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.conftest import PERSON, Bench, assert_balanced, money

ROWS = 900
CONCURRENCY = 16


def kill_at_random(bench: Bench, base_url: str, rng: random.Random, kills: int) -> int:
    """Start the job and kill its whole process group, again and again. Returns how often it died before its end."""
    died = 0
    for _ in range(kills):
        process = bench.start(base_url, "run", "job.yaml", "--direct", "-q")
        time.sleep(rng.uniform(0.3, 1.1))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            died += 1
        process.communicate()
    return died


NIGHTLY = [pytest.param(seed, 50, marks=pytest.mark.nightly) for seed in (2, 3)]


@pytest.mark.parametrize(("seed", "kills"), [(1, 10), *NIGHTLY])
def test_kills_lose_and_double_nothing(bench, sandboxes, seed, kills):
    """After ten kills at random moments every row stands once, and at most the calls in flight were paid again."""
    # By night the gateway fails as well.
    faults = {"upstream_error": 0.05, "wrong_schema": 0.05, "internal_error": 0.02} if kills > 10 else {}
    sandbox = sandboxes(latency_ms=60, seed=seed, faults=faults)
    bench.rows([{"id": f"r{n}", "text": f"person number {n}"} for n in range(ROWS)])
    bench.job(
        id="id",
        schema=PERSON,
        limits={"concurrency": CONCURRENCY},
        retries={"content": 9},
        params={"max_output_tokens": 3000},
    )
    died = kill_at_random(bench, sandbox.base_url, random.Random(seed), kills)
    assert died > 0
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
    assert ended.code == 0, ended.err
    results, books = bench.results(), sandbox.books()
    assert_balanced(ended.manifest, results)
    assert results["row_id"].to_list() == [f"r{n}" for n in range(ROWS)]
    if not faults:
        assert books["billed_calls"] - ROWS <= died * CONCURRENCY
    told, bound = (money(ended.manifest["totals"][name]) for name in ("cost_usd", "unknown_cost_bound_usd"))
    assert told <= money(books["billed_usd"]) <= told + bound
    assert books["billed_calls"] <= ended.manifest["totals"]["calls"]
    assert list((bench.folder / "out" / "journal").iterdir()) == []


def test_kill_during_start_and_second_start(bench, sandboxes):
    """A second start is refused while the first lives, naming it, and works at once when the first was killed."""
    sandbox = sandboxes(latency_ms=500)
    bench.rows([{"text": f"t{n}"} for n in range(40)])
    bench.job(limits={"concurrency": 4})
    first = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "-q")
    while not (bench.folder / "out" / "run.json").exists():
        time.sleep(0.02)
    second = bench.run(sandbox.base_url, "run", "job.yaml", "--direct")
    assert second.code == 2
    assert f"process {first.pid}" in second.err
    assert "Traceback" not in second.err
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    sandbox.change(latency_ms=0)
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct").code == 0
    assert bench.results().height == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_drains_what_is_in_flight(bench, sandboxes, number):
    """SIGINT and SIGTERM let calls in flight end and exit 130; nothing is paid twice when it goes on."""
    sandbox = sandboxes(latency_ms=300)
    bench.rows([{"text": f"t{n}"} for n in range(60)])
    bench.job(limits={"concurrency": 8})
    process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
    while sandbox.books()["billed_calls"] < 8:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert '"kind": "interrupted"' in out
    assert_balanced(bench.manifest(), bench.results())
    assert sandbox.books()["billed_calls"] == bench.results().height
    sandbox.change(latency_ms=0)
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct").code == 0
    assert sandbox.books()["billed_calls"] == 60
