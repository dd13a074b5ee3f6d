"""Weighed votes from the outside: labels and probabilities by what is known of who voted; nothing is asked again."""

from __future__ import annotations

import json

import polars as pl
import pytest

from tests.acceptance.test_label import STRONG, answers, calls, job, labelled, tickets

# Half of what is `praise` is called `other`.
ASYMMETRIC = {"praise": {"other": 0.55, "praise": 0.45}, "shipping": {"other": 0.2, "shipping": 0.8}}


def test_weighing_costs_no_call_and_can_be_taken_back(bench, sandboxes):
    """By gold more labels are right; the change asks nothing, an idle run writes nothing, and without it all is as before."""
    rows = 160
    sandbox = sandboxes(labels=answers(rows), confusion=ASYMMETRIC)
    bench.rows(tickets(rows))
    job(bench, {"votes": 3})
    plain = labelled(bench, sandbox.base_url)
    before, paid = bench.results(), calls(sandbox)
    assert "weighing" not in plain["label"]
    assert "label_probability" not in before.columns
    job(bench, {"votes": 3, "weigh": "gold", "review_below": 0.95})
    told = labelled(bench, sandbox.base_url)["label"]
    weights, after = told["weighing"], bench.results()
    assert weights["by"] == "gold"
    assert weights["right_unweighed"] == plain["label"]["gold"]["right"]
    assert weights["right_weighed"] == told["gold"]["right"] == after["correct"].sum()
    assert told["gold"]["right"] > plain["label"]["gold"]["right"]
    assert weights["changed"] == (before["voted_label"] != after["voted_label"]).sum()
    best = after["label_probabilities"].list.first().struct.unnest()
    assert (best["label"] == after["voted_label"]).all()
    assert (best["probability"] == after["label_probability"]).all()
    lines = [json.loads(line) for line in (bench.folder / "out" / "review.jsonl").read_text().splitlines()]
    doubt = [line["probability"] for line in lines if line["kind"] == "doubt"]
    assert doubt
    assert doubt == sorted(doubt)
    assert max(doubt) < 0.95
    ended = bench.run("", "status", "out", "--verify")
    assert ended.code == 0
    assert "votes weighed by gold rows" in ended.out
    stamps = {path: path.stat().st_mtime_ns for path in (bench.folder / "out" / "results").iterdir()}
    labelled(bench, sandbox.base_url)
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    job(bench, {"votes": 3})
    back = labelled(bench, sandbox.base_url)
    assert calls(sandbox) == paid
    assert back["label"] == plain["label"]
    assert bench.results().equals(before)


@pytest.mark.nightly
def test_weights_go_on_with_a_run_and_with_people(bench, sandboxes):
    """Rows that are not settled wait; what people said stays; the gate judges the labels that rows will have."""
    rows = 240
    sandbox = sandboxes(labels=answers(rows), confusion=ASYMMETRIC)
    bench.rows(tickets(rows))
    job(bench, {"votes": 3, "weigh": "gold", "min_accuracy": 0.5})
    part = labelled(bench, sandbox.base_url, "-n", "100")
    assert part["label"]["weighing"]["rows"] == 100
    (bench.folder / "people.jsonl").write_text(json.dumps({"row_id": "r2", "gold": "billing"}))
    whole = labelled(bench, sandbox.base_url, "--gold", "people.jsonl")
    results = bench.results()
    assert whole["label"]["weighing"]["rows"] == rows
    assert results["label_probability"].null_count() == 0
    row = results.row(by_predicate=pl.col("row_id") == "r2", named=True)
    assert row["label"] == "billing" != row["voted_label"]
    assert row["correct"] is False
    assert bench.run("", "status", "out", "--verify").code == 0


@pytest.mark.nightly
def test_a_cascade_of_the_sandbox_has_two_voters(bench, sandboxes):
    """The stronger model's votes count more, as its own accuracy tells."""
    rows = 300
    sandbox = sandboxes(labels=answers(rows), right=0.6, right_of={STRONG: 0.97})
    bench.rows(tickets(rows))
    job(bench, {"votes": 3, "escalate": {"model": STRONG}, "weigh": "gold"})
    first, second = labelled(bench, sandbox.base_url)["label"]["weighing"]["voters"]
    assert (first["model"], second["model"]) == ("gemini-3-flash", STRONG)
    assert second["accuracy"] > first["accuracy"] + 0.2
