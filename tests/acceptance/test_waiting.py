"""`on_spend_limit: wait`: the run waits for the turn of the hour, probes with one call, and goes on by itself."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.sandbox.process import Running
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.system.clock import Clock
from tests.acceptance.test_run import direct, numbered
from tests.conftest import KEY, Bench, assert_balanced


class SkippingClock(Clock):
    """Real time, except that a whole second of sleep passes at once."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self.when: dict[float, Any] = {}

    def now(self) -> float:
        return super().now() + self.skipped

    def wall(self) -> float:
        return super().wall() + self.skipped

    async def sleep(self, seconds: float) -> None:
        if seconds < 0.9:
            await super().sleep(seconds)
            return
        self.skipped += seconds
        for after in [after for after in self.when if after <= self.skipped]:
            self.when.pop(after)()


async def run_in_process(bench: Bench, sandbox: Running, clock: SkippingClock) -> dict[str, Any]:
    job = load_job(bench.folder / "job.yaml")
    async with opened(job, Options(), Gateway(sandbox.base_url, KEY), clock=clock, seed=1) as session:
        return (await carry_out(session)).as_dict()


async def test_it_goes_on_by_itself_when_the_limit_turns(bench, sandboxes):
    """After three hours of a spend limit, three single probes later, the run completes; nothing is paid twice."""
    sandbox = sandboxes(spend_limit_usd="0.02", latency_ms=5)
    bench.rows(numbered(120))
    bench.job(id="id", limits={"concurrency": 8}, on_spend_limit="wait")
    clock = SkippingClock()
    clock.when[2.5 * 3600] = lambda: sandbox.change(spend_limit_usd=None)
    manifest = await run_in_process(bench, sandbox, clock)
    assert manifest["termination"]["kind"] == "complete"
    assert manifest["ledger"]["ok"] == 120
    assert_balanced(manifest, bench.results())
    refused = sandbox.books()["calls_by_status"]["429 spend_limit_exceeded"]
    # Two or three turns of the hour lie in two and a half hours.
    assert refused <= 8 + 3
    assert 2.4 * 3600 < clock.skipped < 4 * 3600
    assert sandbox.books()["prompts_billed_twice"] == 0


async def test_it_gives_up_after_25_hours(bench, sandboxes):
    """A limit that never turns ends the run as a spend limit after 25 hours and at most one probe an hour."""
    sandbox = sandboxes(spend_limit_usd="0")
    bench.rows(numbered(20))
    bench.job(id="id", on_spend_limit="wait")
    clock = SkippingClock()
    manifest = await run_in_process(bench, sandbox, clock)
    assert manifest["termination"]["kind"] == "spend_limit"
    assert manifest["waiting"]["reason"] == "spend_limit"
    assert manifest["ledger"]["not_attempted"] == 20
    assert 25 <= sandbox.books()["calls"] <= 27
    assert 24.9 * 3600 <= clock.skipped <= 27 * 3600


def test_an_interrupt_ends_the_wait(bench, sandboxes):
    """Ctrl-C during the wait exits 130 at once, resumable; the manifest tells that it waited."""
    sandbox = sandboxes(spend_limit_usd="0.01")
    bench.rows(numbered(60))
    bench.job(id="id", on_spend_limit="wait", limits={"concurrency": 4})
    process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
    path = bench.folder / "out/run.json"
    while not path.exists() or not bench.manifest()["waiting"]:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130, err
    assert json.loads(out)["termination"]["kind"] == "interrupted"
    sandbox.change(spend_limit_usd=None)
    assert direct(bench, sandbox.base_url).code == 0
    assert sandbox.books()["prompts_billed_twice"] == 0


def test_stop_is_the_default(bench, sandboxes):
    """Without `wait` a spend limit ends the run at once."""
    sandbox = sandboxes(spend_limit_usd="0")
    bench.rows(numbered(3))
    bench.job(id="id")
    assert direct(bench, sandbox.base_url).code == 4
