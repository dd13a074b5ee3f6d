"""Runs that nobody watches: they stop by themselves for what a person would stop them for."""

from __future__ import annotations

import json
import random
import re
from datetime import datetime
from typing import Any

import pytest

from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import DamageError
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.pack import read_pack
from rowmill.tasks.gateway.credentials import Gateway as Access
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.journal.entries import Closed, encode_line
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.system.clock import Clock
from tests.acceptance.test_run import direct, numbered
from tests.conftest import KEY, PERSON, Bench, assert_balanced, money
from tests.gateways import Ask, Reply, assert_books, serving

GOOD = '{"name": "n", "n": 1}'


def sorted_badly(ask: Ask) -> Reply:
    """Rows whose text says so are answered with something else than was asked for."""
    return Reply(text='{"name": "n"}' if "bad" in ask.prompt else GOOD)


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-3-flash"])
def test_an_impossible_schema_stops_the_run_and_a_mended_job_goes_on(bench: Bench, model: str) -> None:
    """500 rows that all fail cost less than a third of their calls, exit 3 and kind `quality`; another night in which
    nothing was mended costs a handful; once the gateway answers well, `--retry-failed` makes every row ok.
    """
    with serving(lambda ask: Reply(text='{"name": "n"}')) as gateway:
        bench.rows(numbered(500))
        bench.job(id="id", model=model, schema=PERSON, limits={"concurrency": 16})
        ended = direct(bench, gateway.url)
        assert ended.code == 3, ended.err
        told = ended.manifest["termination"]
        assert (told["kind"], told["code"]) == ("quality", "schema_violation")
        assert "row r0: " in told["message"]
        assert_balanced(ended.manifest, bench.results())
        first = len(gateway.asks)
        assert first <= 500
        again = direct(bench, gateway.url)
        assert again.code == 3
        assert len(gateway.asks) - first <= 150
        gateway.script = lambda ask: Reply(text=GOOD)
        mended = direct(bench, gateway.url, "--retry-failed")
        assert mended.code == 0, mended.err
        assert mended.manifest["ledger"]["ok"] == 500
        assert_books(bench, gateway, exact=True)


def test_a_file_sorted_with_its_worst_rows_first_is_asked_to_its_end(bench: Bench) -> None:
    """100 bad rows before 300 good ones: no row is left out, none is asked twice, the copies of a row have its answer."""
    with serving(sorted_badly) as gateway:
        rows = numbered(100, "bad {}") + numbered(300, "good {}")
        for place, row in enumerate(rows):
            row["id"] = f"r{place}"
        # Every row of the second half asks what a row of the first half asks.
        for place in range(250, 400):
            rows[place]["text"] = rows[place - 150]["text"]
        bench.rows(rows)
        bench.job(id="id", schema=PERSON, limits={"concurrency": 8}, retries={"content": 0})
        ended = direct(bench, gateway.url)
        assert ended.code == 3, ended.err
        assert ended.manifest["termination"]["kind"] == "complete"
        assert (ended.manifest["ledger"]["ok"], ended.manifest["ledger"]["invalid"]) == (300, 100)
        assert len(gateway.asks) == 250
        assert_balanced(ended.manifest, bench.results())
        assert_books(bench, gateway, exact=True)


def test_null_turns_it_off(bench: Bench) -> None:
    """`stop_when: null` asks every row, whatever becomes of them."""
    with serving(lambda ask: Reply(text="{}")) as gateway:
        bench.rows(numbered(120))
        bench.job(id="id", schema=PERSON, retries={"content": 0}, stop_when=None)
        ended = direct(bench, gateway.url)
        assert ended.code == 3
        assert ended.manifest["termination"]["kind"] == "complete"
        assert len(gateway.asks) == 120
        assert json.loads((bench.folder / "out/run.json").read_text())["job"]["stop_when"] is None


class NightClock(Clock):
    """Real time, except that a sleep of a second passes at once; whoever sleeps longer waits until others have let the
    time pass. `jump` sets it forward.
    """

    def __init__(self, wall: str) -> None:
        self.skipped, self._wall = 0.0, datetime.fromisoformat(wall).timestamp() - super().now()

    def now(self) -> float:
        return super().now() + self.skipped

    def wall(self) -> float:
        return self._wall + self.now()

    def jump(self, seconds: float) -> None:
        self.skipped += seconds

    async def sleep(self, seconds: float) -> None:
        until = self.now() + seconds
        if 0.9 <= seconds <= 1.0:
            self.jump(seconds)
        while (left := until - self.now()) > 0:
            await super().sleep(min(left, 0.01))
        await super().sleep(0)


async def run_at(bench: Bench, url: str, clock: Clock, **options: Any) -> Manifest:
    """A run whose time is this clock's."""
    job = load_job(bench.folder / "job.yaml")
    async with opened(job, Options(**options), Access(url, KEY), clock=clock, seed=1) as run:
        return await carry_out(run)


async def test_a_deadline_ends_the_run_and_the_next_night_goes_on(bench: Bench) -> None:
    """What is in flight at the deadline ends, nothing is sent after it, exit 130; the next start asks what is left."""
    clock = NightClock("2026-11-26T05:00+01:00")

    def at_six(ask: Ask) -> Reply:
        if len(gateway.asks) == 20:
            clock.jump(3_600)
        return Reply(text=GOOD, delay_s=0.02)

    with serving(at_six) as gateway:
        bench.rows(numbered(60))
        bench.job(id="id", schema=PERSON, limits={"concurrency": 4}, stop_at="06:00", time_zone="Europe/Berlin")
        told = await run_at(bench, gateway.url, clock)
        assert told.kind == "deadline"
        assert told.exit_code == 130
        assert told.deadline == "2026-11-26T05:00:00.000+00:00"
        assert 20 < told.ledger.ok == len(gateway.asks) <= 20 + 4
        # Begun after 06:00, it has until tomorrow.
        told = await run_at(bench, gateway.url, NightClock("2026-11-26T06:00:01+01:00"))
        assert told.kind == "complete"
        assert told.deadline == "2026-11-27T05:00:00.000+00:00"
        assert len(gateway.asks) == 60
        assert_books(bench, gateway, exact=True)


async def test_waiting_for_a_spend_limit_ends_at_the_deadline(bench: Bench, sandboxes: Any) -> None:
    """A limit that turns only after the deadline is not waited for."""
    sandbox = sandboxes(spend_limit_usd="0")
    bench.rows(numbered(5))
    bench.job(id="id", on_spend_limit="wait", max_hours=2.5)
    told = await run_at(bench, sandbox.base_url, NightClock("2026-11-26T02:10+01:00"))
    assert (told.kind, told.end.code) == ("deadline", "spend_limit")
    # At the start and at two turns of the hour.
    assert sandbox.books()["calls"] == 3
    assert told.ledger.not_attempted == 5


async def test_a_retry_is_not_sent_after_the_deadline(bench: Bench) -> None:
    """A row that fails before the deadline and would be tried again after it stays for the next run, with its cost."""
    clock = NightClock("2026-11-26T05:00+00:00")

    def at_six(ask: Ask) -> Reply:
        clock.jump(3_600)
        return Reply(text="{}")

    with serving(at_six) as gateway:
        bench.rows(numbered(1))
        bench.job(id="id", schema=PERSON, stop_at="06:00", time_zone="UTC")
        told = await run_at(bench, gateway.url, clock)
        assert told.kind == "deadline"
        assert len(gateway.asks) == 1
        assert told.ledger.not_attempted == 1
        assert_books(bench, gateway, exact=True)


def test_runs_of_one_budget_never_pass_it_though_one_is_killed(bench: Bench) -> None:
    """Three outputs, one killed in the middle and started again: together they are billed no more than the day's money,
    each ends with exit 4 and kind `budget`, and what the killed run had reserved and not spent is spent in the end.
    """
    budget = {"name": "team-a", "usd_per_day": 0.2}
    with serving(lambda ask: Reply(text=GOOD, delay_s=0.02)) as gateway:
        for name in "abc":
            bench.rows([{"id": f"{name}{n}", "text": f"{name} {n}"} for n in range(200)], f"{name}.jsonl")
            bench.job(
                f"{name}.yaml", id="id", input=f"{name}.jsonl", output=f"out/{name}", schema=PERSON, budget=budget,
                limits={"concurrency": 4}, params={"max_output_tokens": 400},
            )  # fmt: skip
        runs = [bench.start(gateway.url, "run", f"{name}.yaml", "--direct", "--json") for name in "abc"]
        # The one that is killed has begun too, whichever started first.
        gateway.wait_until(lambda: len(gateway.asks) >= 40 and any("a 1" in ask.prompt for ask in gateway.asks))
        runs[0].kill()
        told = [json.loads(run.communicate(timeout=60)[0]) for run in runs[1:]]
        runs[0].communicate(timeout=60)
        assert [run.returncode for run in runs[1:]] == [4, 4]
        assert {one["termination"]["code"] for one in told} == {"daily_budget"}
        assert (bench.folder / "out/a/budget.json").exists()
        again = bench.run(gateway.url, "run", "a.yaml", "--direct", "--json")
        assert again.code == 4, again.err
        assert not (bench.folder / "out/a/budget.json").exists()
        # One call may cost 0.002 and a bit; lost calls of the killed run count at that.
        billed = money(gateway.books()["billed_usd"])
        assert money("0.18") < billed <= money("0.2")
        parts = json.loads((bench.folder / "out/budget-team-a.json").read_text())["days"]
        assert sum(sum(day.values()) for day in parts.values()) <= 200_000_000
        assert again.manifest["budget"]["name"] == "team-a"


def test_fresh_gives_back_nothing_that_a_killed_run_may_have_spent(bench: Bench) -> None:
    """Its results are moved aside, so its part of the day counts whole: the day's money is not spent a second time."""
    with serving(lambda ask: Reply(text=GOOD, delay_s=0.02)) as gateway:
        bench.rows(numbered(300))
        budget = {"name": "team-b", "usd_per_day": 0.1}
        bench.job(id="id", schema=PERSON, budget=budget, limits={"concurrency": 4}, params={"max_output_tokens": 400})
        process = bench.start(gateway.url, "run", "job.yaml", "--direct", "-q")
        gateway.wait_for(60)
        process.kill()
        process.communicate()
        ended = direct(bench, gateway.url, "--fresh")
        assert ended.code == 4, ended.err
        assert money(gateway.books()["billed_usd"]) <= money("0.1")


def test_a_budget_whose_store_is_away_is_refused_before_a_call(bench: Bench) -> None:
    """Exit 2, naming the store without its password."""
    with serving() as gateway:
        bench.rows(numbered(3))
        bench.job(id="id", budget={"name": "team-a", "usd_per_day": 5})
        ended = bench.run(
            gateway.url, "run", "job.yaml", "--direct", ROWMILL_REDIS_URL="redis://:hidden@127.0.0.1:9/0"
        )  # fmt: skip
        assert ended.code == 2
        assert "redis://127.0.0.1:9/0" in ended.err
        assert "hidden" not in ended.err
        assert not gateway.asks


def grow(bench: Bench, rows: int) -> None:
    bench.rows(numbered(rows))


def answers(shift: int) -> Any:
    """A model that answers by the row's number; `shift` makes it another model, for three rows of four."""

    def script(ask: Ask) -> Reply:
        number = int("".join(filter(str.isdigit, ask.prompt)) or 0)
        return Reply(text=json.dumps({"name": "n", "n": number + (shift if number % 4 else 0)}))

    return script


def test_a_changed_model_is_seen_before_anything_new_is_asked(bench: Bench) -> None:
    """Settled rows are asked again first. The same model costs those calls and goes on; a changed one stops the run with
    exit 3 and kind `drift` before a new row; no result changes, every call is in the bill, the changed rows are named.
    """
    bench = Bench(bench.folder, reports=True)
    with serving(answers(0)) as gateway:
        grow(bench, 60)
        keys = {"id": "id", "schema": PERSON, "canary": {"rows": 20, "drift": 0.05}}
        bench.job(**keys)
        first = direct(bench, gateway.url)
        assert first.code == 0, first.err
        assert first.manifest["canary"]["verdict"] == "too few settled rows"
        grow(bench, 80)
        second = direct(bench, gateway.url)
        assert second.code == 0, second.err
        told = second.manifest["canary"]
        assert (told["verdict"], told["rows"], told["changed_rows"], told["changed_by_chance"]) == ("same", 20, 0, None)
        assert second.manifest["beside"]["calls"] == told["calls"]
        assert money(second.manifest["beside"]["cost_usd"]) == money(told["cost_usd"]) > 0
        before, asked = bench.results(), len(gateway.asks)
        # Nothing new, nothing asked.
        assert direct(bench, gateway.url).code == 0
        assert len(gateway.asks) == asked
        gateway.script = answers(7)
        grow(bench, 100)
        third = direct(bench, gateway.url)
        assert third.code == 3, third.err
        assert third.manifest["termination"]["kind"] == "drift"
        told = third.manifest["canary"]
        assert len(gateway.asks) - asked == told["calls"] <= 40
        assert told["verdict"] == "drift"
        assert told["changed_by_chance"] == 0
        assert told["p_value"] < 0.01
        change = told["examples"][0]["fields"][0]
        assert (change["field"], int(change["now"]) - int(change["before"])) == ("/n", 7)
        assert bench.results().equals(before)
        assert third.manifest["ledger"]["not_attempted"] == 20
        assert "Rows that changed" in (bench.folder / "out/report.html").read_text()
        assert_books(bench, gateway, exact=True)
        # The change is accepted: only what is answered from then on is drawn.
        bench.job(**{**keys, "canary": {"rows": 20, "since": "2100-01-01"}})
        fourth = direct(bench, gateway.url)
        assert fourth.code == 0, fourth.err
        assert fourth.manifest["ledger"]["ok"] == 100


def test_a_model_that_answers_otherwise_each_time_is_no_drift(bench: Bench) -> None:
    """Half of the answers differ from night to night, as half of two askings of one night do: the run goes on."""
    rng = random.Random(3)

    def noisy(ask: Ask) -> Reply:
        return Reply(text=json.dumps({"name": "n", "n": int(rng.random() < 0.5)}))

    with serving(noisy) as gateway:
        grow(bench, 60)
        bench.job(id="id", schema=PERSON, canary={"rows": 40}, label=None)
        assert direct(bench, gateway.url).code == 0
        grow(bench, 70)
        ended = direct(bench, gateway.url)
        assert ended.code == 0, ended.err
        told = ended.manifest["canary"]
        assert told["verdict"] == "same"
        assert told["changed"] > 0.05
        assert told["changed_by_chance"] > 0.05
        assert told["calls"] == 80
        assert_books(bench, gateway, exact=True)


def test_a_labelling_model_that_has_changed_is_seen_and_a_kill_loses_no_bill(bench: Bench) -> None:
    """Votes are asked again as votes. A run that is killed while it asks settled rows again has its calls in the bill of
    the next, and none of them stands in a result.
    """
    label = {"labels": ["yes", "no"], "votes": 3}
    with serving(lambda ask: Reply(text='{"label": "yes"}')) as gateway:
        grow(bench, 40)
        keys = {"prompt": "Is it so? {{ text }}", "label": label, "id": "id", "limits": {"concurrency": 4}}
        bench.job(canary={"rows": 20}, **keys)
        command = ("label", "job.yaml", "--direct", "--json")
        assert bench.run(gateway.url, *command).code == 0
        grow(bench, 50)
        asked = len(gateway.asks)
        gateway.script = lambda ask: Reply(text='{"label": "yes"}', delay_s=0.05)
        process = bench.start(gateway.url, *command)
        gateway.wait_for(asked + 10)
        process.kill()
        process.communicate()
        gateway.quiet()
        assert_books(bench, gateway)
        gateway.script = lambda ask: Reply(text='{"label": "no"}')
        ended = bench.run(gateway.url, *command)
        assert ended.code == 3, ended.err
        assert ended.manifest["termination"]["kind"] == "drift"
        assert ended.manifest["canary"]["examples"][0]["fields"] == [{"field": "label", "before": "yes", "now": "no"}]
        assert bench.results()["label"].to_list()[:40] == ["yes"] * 40
        assert_books(bench, gateway)


async def test_rows_that_share_a_call_are_asked_again_as_they_were(bench: Bench) -> None:
    """With several rows a call the settled rows that are drawn share calls too: the same model costs fewer calls than
    rows and goes on, a changed one is seen.
    """
    shift = 0

    def person(text: str) -> dict[str, Any]:
        return {"name": "n", "n": int(re.findall("row ([0-9]+)", text)[0]) + shift}

    def answer(ask: Ask) -> Reply:
        pack = read_pack(ask.prompt)
        if pack is None:
            return Reply(text=json.dumps(person(ask.prompt)))
        return Reply(text=json.dumps({"rows": [{"row": token, "answer": person(own)} for token, own in pack.rows]}))

    with serving(answer) as gateway:
        bench.rows(numbered(40, "row {}"))
        bench.job(id="id", schema=PERSON, rows_per_call=5, canary={"rows": 20}, limits={"concurrency": 4})
        assert (await run_at(bench, gateway.url, NightClock("2026-11-26T01:00+00:00"))).kind == "complete"
        bench.rows(numbered(50, "row {}"))
        told = await run_at(bench, gateway.url, NightClock("2026-11-27T01:00+00:00"))
        assert told.kind == "complete"
        assert told.canary is not None
        assert (told.canary.rows, told.canary.verdict) == (20, "same")
        assert told.canary.calls < 20
        shift = 7
        bench.rows(numbered(60, "row {}"))
        told = await run_at(bench, gateway.url, NightClock("2026-11-28T01:00+00:00"))
        assert told.kind == "drift"
        assert told.canary is not None
        assert told.canary.changed_rows == told.canary.rows == 20
        assert told.ledger.ok == 50
        assert_books(bench, gateway, exact=True)


async def test_a_damaged_canary_says_what_its_loss_costs(bench: Bench) -> None:
    """Its line is named, and what to do: it holds no results; moved away, the run goes on."""
    clock = NightClock("2026-11-26T01:00+00:00")
    with serving(answers(0)) as gateway:
        grow(bench, 30)
        bench.job(id="id", schema=PERSON, canary={"rows": 10})
        assert (await run_at(bench, gateway.url, clock)).kind == "complete"
        path = bench.folder / "out/journal/canary.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no line of ours\n" + encode_line(Closed("x", Spent(1))))
        grow(bench, 40)
        with pytest.raises(DamageError) as damage:
            await run_at(bench, gateway.url, clock)
        for words in ("line 1 is damaged", "canary.jsonl", "it holds no results", "lower max_cost_usd"):
            assert words in str(damage.value)
        assert "--fresh-part" not in str(damage.value)
        path.rename(bench.folder / "aside.jsonl")
        assert (await run_at(bench, gateway.url, clock)).kind == "complete"
