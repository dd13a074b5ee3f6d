"""A month of nights that nobody watches, and what its history says of it in the morning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rowmill.tasks.output.manifest_file import manifest_of
from rowmill.tasks.report.run_history import nights_of, records_of
from tests.acceptance.test_fortnight import A_NIGHT, IMPOSSIBLE, JOB, Fortnight
from tests.acceptance.test_run import numbered
from tests.conftest import Bench, money
from tests.gateways import serving

# A row's call: 50 input, 20 output and 130 thought tokens of gemini-3-pro.
A_CALL = money("0.00076")
CANARY = 20


@pytest.mark.nightly
def test_a_month(bench: Bench) -> None:
    """Thirty nights over a growing file: one bad schema, one changed model, one outage, one empty budget, one killed
    worker, one night too short. Every stop is named rightly and every other night is quiet; every row stands once in the
    end, and nothing is paid that a person would not have paid: each row once, the canaries, what was in flight.
    """
    with serving() as gateway:
        nights = Fortnight(bench, gateway)
        gateway.script = nights.answer
        bench.job(**JOB, output="out/main")
        kinds: dict[int, str] = {}
        extra = money(0)

        def bill() -> Any:
            return money(gateway.books()["billed_usd"])

        def quiet() -> None:
            """A night on which nothing happens: what waits, what is new and the canary are asked, and no more."""
            first = nights.day == 0
            waits = 0 if first else nights.told.ledger.not_attempted
            kind, calls = nights.night()
            kinds[nights.day] = kind
            assert (kind, calls) == ("complete", nights.rows if first else waits + A_NIGHT + CANARY)

        def bad_schema() -> None:
            """An output of its own, with a schema that no answer meets; the next night it is mended."""
            nonlocal extra
            before = bill()
            nights.day += 1
            bench.job("other.yaml", **{**JOB, "schema": IMPOSSIBLE, "name": "other"}, output="out/other")
            assert nights.night("other.yaml", grows=False)[0] == "quality"
            assert nights.told.exit_code == 3
            # Each row would be asked twice: every one that was taken up has had a call before the first is given up.
            assert bill() - before < A_CALL * 2 * nights.rows * 2 / 3
            bench.job("other.yaml", **{**JOB, "name": "other"}, output="out/other")
            nights.day += 1
            assert nights.night("other.yaml", grows=False, fresh=True) == ("complete", nights.rows)
            extra += bill() - before
            nights.told = manifest()

        def changed_model() -> None:
            """Two nights with another model: each pays for its canary alone."""
            for _ in range(2):
                assert nights.night(mood="changed") == ("drift", 2 * CANARY)
                kinds[nights.day] = "drift"

        def outage() -> None:
            before = bill()
            kind, _ = nights.night(mood="down")
            kinds[nights.day] = kind
            assert (kind, nights.told.exit_code, bill()) == ("outage", 6, before)

        def empty_budget() -> None:
            """Another job has spent the day's money: this one asks nothing that does not fit it."""
            nonlocal extra
            before = bill()
            bench.rows(numbered(600, "another job's row {}"), "large.jsonl")
            bench.job("large.yaml", **{**JOB, "input": "large.jsonl", "name": "large"}, output="out/large")
            assert nights.night("large.yaml")[0] == "budget"
            large = bill()
            kind, _ = nights.night(grows=False)
            kinds[nights.day] = kind
            assert (kind, nights.told.exit_code, nights.told.end.code) == ("budget", 4, "daily_budget")
            assert bill() - before <= money("0.3")
            extra += large - before

        def killed_worker() -> None:
            nights.day, nights.rows, nights.mood = nights.day + 1, nights.rows + A_NIGHT, "well"
            bench.rows(numbered(nights.rows))
            asked = len(gateway.asks)
            worker = bench.start(gateway.url, "run", "job.yaml", "--direct", "-q")
            gateway.wait_for(asked + CANARY + 5)
            worker.kill()
            worker.communicate()
            gateway.quiet()
            kind, calls = nights.night()
            kinds[nights.day] = kind
            assert kind == "complete"
            # What was in flight at the kill is asked again, and no more.
            assert calls <= 2 * A_NIGHT + CANARY

        def too_short() -> None:
            kind, calls = nights.night(mood="at six")
            kinds[nights.day] = kind
            assert (kind, nights.told.exit_code) == ("deadline", 130)
            assert calls <= JOB["limits"]["concurrency"]

        def manifest() -> Any:
            return manifest_of(bench.folder / "out/main")

        happens: dict[int, Callable[[], None]] = {
            5: bad_schema, 9: changed_model, 14: outage, 18: empty_budget, 22: killed_worker, 26: too_short,
        }  # fmt: skip
        nights.day = 0
        nights.rows = 40
        done: set[int] = set()
        while nights.day < 30:
            now = nights.day + 1
            due = next((day for day in happens if day <= now and day not in done), None)
            if due is None:
                quiet()
            else:
                done.add(due)
                happens[due]()

        results = bench.results("out/main")
        assert results["row_id"].to_list() == [f"r{n}" for n in range(nights.rows)]
        assert results["status"].unique().to_list() == ["ok"]
        assert results["output"].struct.field("n").to_list() == list(range(nights.rows))
        stops = {day: kind for day, kind in kinds.items() if kind != "complete"}
        assert sorted(stops.values()) == ["budget", "deadline", "drift", "drift", "outage"]

        records = records_of(bench.folder / "out/main", manifest())
        history = nights_of({"main": records})
        told = [night.record.kind for night in history]
        assert told.count("killed") == 1
        assert [kind for kind in told if kind not in ("complete", "killed")] == list(stops.values())
        assert sum(night.record.rows or 0 for night in history) == nights.rows
        assert not any(night.moved for night in history)
        # The bill: each row once, two askings of the canary in the nights of another model and one in the others; and
        # what was in flight where a worker was killed.
        main = bill() - extra
        canaries = sum(night.record.kind != "outage" for night in history) + 2
        assert A_CALL * nights.rows < main <= A_CALL * (nights.rows + CANARY * canaries + JOB["limits"]["concurrency"])
        costs = sum(money(record.cost_usd or 0) + money(record.unknown_usd) for record in records)
        known = sum(money(record.cost_usd or 0) for record in records)
        assert known <= main <= costs
