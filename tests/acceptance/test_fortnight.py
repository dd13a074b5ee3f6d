"""A fortnight of nights that nobody watches, over one growing file: all that can happen to a schedule happens once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.schemas.manifest import Manifest
from rowmill.tasks.gateway.credentials import Gateway as Access
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.system.clock import Clock
from tests.acceptance.test_nights import NightClock
from tests.acceptance.test_run import numbered
from tests.conftest import KEY, PERSON, Bench, money
from tests.gateways import Ask, Gateway, Reply, serving

A_NIGHT = 20
IMPOSSIBLE = {**PERSON, "properties": {**PERSON["properties"], "iban": {"type": "string"}}, "required": ["iban"]}
JOB: dict[str, Any] = {
    "id": "id", "schema": PERSON, "params": {"max_output_tokens": 400}, "limits": {"concurrency": 4},
    "retries": {"transport": 1, "content": 1, "outage_s": 0.05}, "canary": {"rows": 20},
    "stop_when": {"not_ok": 0.8, "after": 20}, "stop_at": "06:00", "time_zone": "UTC",
    "budget": {"name": "team", "usd_per_day": 0.3},
}  # fmt: skip


class DateClock(NightClock):
    """Real seconds, on a date of the test's own."""

    async def sleep(self, seconds: float) -> None:
        until = self.now() + seconds
        while (left := until - self.now()) > 0:
            await Clock.sleep(self, min(left, 0.01))
        await Clock.sleep(self, 0)


@dataclass
class Fortnight:
    """The file, the gateway, the model behind its name, and what each night came to."""

    bench: Bench
    gateway: Gateway
    rows: int = 60
    day: int = 1
    mood: str = "well"
    clock: NightClock = field(default_factory=lambda: DateClock("2030-01-01T01:00+00:00"))

    def answer(self, ask: Ask) -> Reply:
        number = int("".join(filter(str.isdigit, ask.prompt)) or 0)
        if self.mood == "down":
            return Reply(status=503, error=("upstream_error", "the provider is down", "api_error"))
        if self.mood == "at six":
            self.clock.jump(5 * 3_600)
        return Reply(text=json.dumps({"name": "n", "n": number + (self.mood == "changed")}), delay_s=0.003)

    def night(
        self, job: str = "job.yaml", mood: str = "well", *, grows: bool = True, **options: Any
    ) -> tuple[str, int]:
        """A night's run of a job: the kind of its end, and how many calls it made."""
        self.day, self.mood = self.day + grows, mood
        self.rows += A_NIGHT if grows else 0
        self.bench.rows(numbered(self.rows))
        self.clock = DateClock(f"2030-01-{self.day:02}T01:00+00:00")
        before = len(self.gateway.asks)

        async def run() -> Manifest:
            told = load_job(self.bench.folder / job)
            access = Access(self.gateway.url, KEY)
            async with opened(told, Options(**options), access, clock=self.clock, seed=self.day) as opened_run:
                return await carry_out(opened_run)

        told = asyncio.run(run())
        self.told = told
        return told.kind, len(self.gateway.asks) - before


def test_a_fortnight(bench: Bench) -> None:
    """Growing file, bad schema, changed model, outage, empty budget, killed worker, a night too short: every stop is
    named rightly, every row stands once in the end, and nothing is paid that a person would not have paid.
    """
    with serving() as gateway:
        nights = Fortnight(bench, gateway)
        gateway.script = nights.answer
        bench.job(**JOB, output="out/main")
        assert nights.night() == ("complete", 80)
        # From now on 20 settled rows are asked again before the new ones.
        assert nights.night() == ("complete", 40)

        # Somebody has made a schema that no answer meets, for an output of its own; next night it is mended.
        bench.job("other.yaml", **{**JOB, "schema": IMPOSSIBLE}, output="out/other")
        kind, calls = nights.night("other.yaml")
        assert (kind, nights.told.exit_code) == ("quality", 3)
        # Of 240: every row that was taken up has had a call before the first of them is given up.
        assert calls < 160
        bench.job("other.yaml", **JOB, output="out/other")
        assert nights.night("other.yaml", fresh=True) == ("complete", nights.rows)

        # The model behind the name changes: 20 rows are asked twice and nothing new. It is changed back.
        assert nights.night(mood="changed") == ("drift", 40)
        assert nights.told.exit_code == 3
        waiting = nights.told.ledger.not_attempted
        assert waiting == 60
        assert nights.night() == ("complete", 20 + waiting + A_NIGHT)

        # The provider is down; next night it is up.
        kind, _ = nights.night(mood="down")
        assert (kind, nights.told.exit_code) == ("outage", 6)
        assert nights.night() == ("complete", 20 + 2 * A_NIGHT)

        # Another job has spent the day's money: nothing is sent. Next night there is new money.
        bench.rows(numbered(600, "another job's row {}"), "large.jsonl")
        bench.job("large.yaml", **{**JOB, "input": "large.jsonl"}, output="out/large")
        spent_before = money(gateway.books()["billed_usd"])
        kind, _ = nights.night("large.yaml")
        assert (kind, nights.told.exit_code, nights.told.end.code) == (
            "budget",
            4,
            "daily_budget",
        )
        kind, calls = nights.night(grows=False)
        assert (kind, nights.told.end.code) == ("budget", "daily_budget")
        assert money(gateway.books()["billed_usd"]) - spent_before <= money("0.3")
        missed = nights.told.ledger.not_attempted
        assert nights.night()[0] == "complete"
        assert missed > 0

        # The worker is killed in the middle of a night; the next goes on.
        nights.rows, nights.mood = nights.rows + A_NIGHT, "well"
        bench.rows(numbered(nights.rows))
        asked = len(gateway.asks)
        worker = bench.start(gateway.url, "run", "job.yaml", "--direct", "-q")
        gateway.wait_for(asked + 25)
        worker.kill()
        worker.communicate()
        gateway.quiet()
        assert nights.night()[0] == "complete"

        # Five in the morning becomes six in the middle of a call.
        kind, calls = nights.night(mood="at six")
        assert (kind, nights.told.exit_code) == ("deadline", 130)
        assert calls <= 4
        assert nights.night()[0] == "complete"

        results, told = bench.results("out/main"), bench.manifest("out/main")
        assert results["row_id"].to_list() == [f"r{n}" for n in range(nights.rows)]
        assert results["status"].unique().to_list() == ["ok"]
        assert results["output"].struct.field("n").to_list() == list(range(nights.rows))
        assert told["ledger"]["ok"] == nights.rows
        # Also what --fresh has moved aside.
        parts = [json.loads(path.read_text()) for path in bench.folder.rglob("run.json")]
        assert len(parts) == 4
        billed = money(gateway.books()["billed_usd"])
        known = sum(money(one[part]["cost_usd"]) for one in parts for part in ("totals", "beside"))
        bound = sum(money(one[part]["unknown_cost_bound_usd"]) for one in parts for part in ("totals", "beside"))
        assert known <= billed <= known + bound
        # No row was paid for twice but by a canary, and what was in flight at the kill and at the bad schema.
        rows = nights.rows + 140 + 400
        assert billed < money("0.00076") * (rows + 14 * 40 + 100)
