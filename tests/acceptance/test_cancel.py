"""A cancellation from outside, as Prefect's cancel is, drains what is in flight like a signal does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import GRACE_S, carry_out
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.run.run_plan import Options
from tests.acceptance.test_run import direct, numbered
from tests.conftest import KEY, assert_balanced


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the session has no event for a count of rows
        await asyncio.sleep(0.02)


async def test_cancelling_the_flow_drains_and_writes_the_manifest(bench, sandboxes):
    """A cancelled run keeps every answer that was in flight, tells that it was interrupted, and goes on later."""
    sandbox = sandboxes(latency_ms=200)
    bench.rows(numbered(80))
    bench.job(id="id", limits={"concurrency": 8})
    job = load_job(bench.folder / "job.yaml")
    async with opened(job, Options(), Gateway(sandbox.base_url, KEY)) as session:
        work = asyncio.create_task(carry_out(session))
        await until(lambda: session.progress.settled >= 10)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    manifest = bench.manifest()
    assert manifest["termination"]["kind"] == "interrupted"
    assert manifest["beside"]["calls"] == 0
    assert_balanced(manifest, bench.results())
    assert bench.results().height == sandbox.books()["billed_calls"] < 80
    assert direct(bench, sandbox.base_url).code == 0
    assert sandbox.books()["prompts_billed_twice"] == 0


def test_a_second_signal_gives_up_what_is_in_flight(bench, sandboxes):
    """Ctrl-C twice ends without the grace of the first; the calls given up are reported as maybe paid, within a bound."""
    import signal
    import time

    sandbox = sandboxes(latency_ms=10 * GRACE_S * 1_000)
    bench.rows(numbered(20))
    bench.job(id="id", limits={"concurrency": 4}, params={"max_output_tokens": 900})
    process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
    while not sandbox.books()["in_flight"]:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=GRACE_S)
    assert process.returncode == 130, err
    assert time.monotonic() - began < GRACE_S / 2
    assert "Traceback" not in err
    assert bench.manifest()["ledger"]["not_attempted"] == 20
    told = bench.run("", "status", "out", "--json").manifest["beside"]
    assert told == bench.manifest()["beside"]
    assert told["unsettled"]["calls"] == 1
    assert float(told["unsettled"]["unknown_cost_bound_usd"]) > 0
    sandbox.change(latency_ms=0)
    done = direct(bench, sandbox.base_url)
    assert done.code == 0
    assert done.manifest["totals"]["rows_cost_unknown"] == 1
