"""`rows_per_call: auto` from the outside: the most rows a call that gold rows show to be no worse than one."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tests.acceptance.test_tune import NAMES, right_answers, tickets
from tests.conftest import Bench, assert_balanced


def auto(bench: Bench, rows: int, **job: Any) -> None:
    bench.rows(tickets(rows))
    bench.job(
        id="id",
        model="gemini-3-flash",
        prompt="{{ text }}",
        label={"labels": NAMES, "gold": "truth"},
        params={"max_output_tokens": 60},
        rows_per_call="auto",
        **job,
    )


def paid(manifest: dict[str, Any]) -> Decimal:
    return sum((Decimal(manifest[part]["cost_usd"]) for part in ("totals", "beside")), Decimal(0))


def test_the_largest_size_that_is_no_worse_is_taken_and_its_gold_rows_are_paid_once(bench, sandboxes):
    """Where company changes no answer 20 rows share a call; the trial's rows are results, and the next run of a grown
    file goes on with 20 without a further trial.
    """
    sandbox = sandboxes(labels=right_answers(320), right=0.95)
    auto(bench, 300, max_cost_usd=1)
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct", "--json")
    assert ended.code == 0, ended.err
    decision = json.loads((bench.folder / "out/pack_size.json").read_text())
    assert decision["rows_per_call"] == 20
    assert [trial["rows_per_call"] for trial in decision["trials"]] == [1, 5, 10, 20]
    assert all(trial["is_no_worse"] for trial in decision["trials"])
    assert decision["reason"] in ended.err
    assert ended.manifest["job"]["rows_per_call"] == 20
    assert_balanced(ended.manifest, bench.results())
    assert paid(ended.manifest) == Decimal(sandbox.books()["billed_usd"])
    calls = sandbox.books()["calls"]
    assert calls <= 200 + 40 + 20 + 10 + 8 + 5, "the 200 gold rows once each size, and 100 others 20 a call"
    bench.rows(tickets(320))
    assert bench.run(sandbox.base_url, "label", "job.yaml", "--direct").code == 0
    assert sandbox.books()["calls"] - calls <= 5, "rows with other orders of labels do not share a call"


def test_a_size_that_is_worse_is_not_taken(bench, sandboxes):
    """Where a model is wrong in company, one row a call stays."""
    sandbox = sandboxes(labels=right_answers(120), right=0.98, right_in_company=0.7)
    auto(bench, 120)
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct", "--json")
    assert ended.code == 0, ended.err
    decision = json.loads((bench.folder / "out/pack_size.json").read_text())
    assert decision["rows_per_call"] == 1
    assert [trial["rows_per_call"] for trial in decision["trials"]] == [1, 5]
    assert bench.results()["label"].null_count() == 0
    # All rows have gold, so the trial was the run: the other trial's bill stands beside it all the same.
    assert paid(ended.manifest) == Decimal(sandbox.books()["billed_usd"])
    again = bench.run(sandbox.base_url, "label", "job.yaml", "--direct", "--json")
    assert paid(again.manifest) == Decimal(sandbox.books()["billed_usd"])


def test_auto_without_gold_or_with_little_of_it(bench, sandboxes):
    """Without a gold column it is refused before a call; with a few gold rows one row a call is taken, and said so."""
    sandbox = sandboxes(labels=right_answers(20))
    bench.rows(tickets(20))
    bench.job(id="id", prompt="{{ text }}", rows_per_call="auto")
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct")
    assert (ended.code, "name the gold column" in ended.err) == (2, True), ended.err
    assert sandbox.books()["calls"] == 0
    auto(bench, 20)
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct")
    assert ended.code == 0, ended.err
    assert "20 gold rows show nothing" in ended.err
    assert sandbox.books()["calls"] == 20


def test_a_trial_that_is_stopped_leaves_word_in_the_output_and_the_run_goes_on_with_more(bench, sandboxes):
    """Under a cap too small for the trials: exit 4, a manifest whose rows and money balance, status tells of it; with a
    larger cap the run begins, and pays for no row of the trial twice.
    """
    sandbox = sandboxes(labels=right_answers(20))
    auto(bench, 20, max_cost_usd="0.0012", limits={"concurrency": 1})
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct")
    assert ended.code == 4, ended.err
    manifest = bench.manifest()
    assert manifest["termination"]["kind"] == "budget"
    assert "the trial of 1 row a call stopped" in manifest["termination"]["message"]
    assert (manifest["ledger"]["rows"], manifest["ledger"]["not_attempted"]) == (20, 20)
    assert 0 < paid(manifest) == Decimal(sandbox.books()["billed_usd"])
    shown = bench.run(sandbox.base_url, "status", "out")
    assert (shown.code, "20 not attempted" in shown.out, "--max-cost" in shown.out) == (0, True, True), shown.out
    assert json.loads(bench.run(sandbox.base_url, "status", "out", "--json").out)["beside"] == manifest["beside"]
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct", "--json", "--max-cost", "5")
    assert ended.code == 0, ended.err
    assert ended.manifest["ledger"]["ok"] == 20
    assert sandbox.books()["calls"] == 20
    assert paid(ended.manifest) == Decimal(sandbox.books()["billed_usd"])
