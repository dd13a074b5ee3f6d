"""Labels that can be signed for: what is estimated is true, what is stopped was bad, and what was begun goes on."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.test_label import NAMES, STRONG, answers, calls, job, labelled, tickets, without_gold
from tests.conftest import Bench


def write_gold(bench: Bench, said: dict[str, str], name: str = "people.jsonl") -> str:
    lines = (json.dumps({"row_id": row, "gold": label}) + "\n" for row, label in said.items())
    (bench.folder / name).write_text("".join(lines))
    return name


def test_an_audit_tells_the_accuracy_that_a_review_cannot(bench, sandboxes):
    """People label the review: the share of those rows is named as chosen, the audit's estimate holds the true share."""
    rows = 400
    sandbox = sandboxes(labels=answers(rows), right=0.75)
    without_gold(bench, rows)
    job(bench, {"gold": None, "votes": 3, "ties": "review", "review_below": 0.7, "review": {"audit": 0.25}})
    labelled(bench, sandbox.base_url)
    truth = {row["id"]: row["truth"] for row in tickets(rows)}
    results = bench.results()
    true = sum(label == truth[row] for row, label in zip(results["row_id"], results["voted_label"], strict=True)) / rows
    lines = [json.loads(line) for line in (bench.folder / "out" / "review.jsonl").read_text().splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds == sorted(kinds, key=["people", "no_label", "gold", "doubt", "audit"].index)
    doubt = [line["agreement"] for line in lines if line["kind"] == "doubt"]
    assert doubt == sorted(doubt)
    paid = calls(sandbox)
    said = {line["row_id"]: truth[line["row_id"]] for line in lines}
    told = labelled(bench, sandbox.base_url, "--gold", write_gold(bench, said))["label"]
    assert calls(sandbox) == paid
    audit = told["audit"]
    assert audit["rows"] == rows
    assert audit["judged"] == audit["drawn"]
    assert audit["low"] <= true <= audit["high"]
    assert told["gold"]["basis"] == "audit"
    chosen = told["accuracy"]["chosen_by_people"]
    assert (chosen["low"], chosen["high"]) == (None, None)
    assert chosen["accuracy"] < audit["low"]
    assert "no sample: it says nothing of the others" in bench.run("", "status", "out").out


def test_labelling_the_ties_changes_no_score(bench, sandboxes):
    """Rows without a voted label are wrong, before and after people label them; a column's sample stays the sample."""
    rows = 120
    sandbox = sandboxes(labels=answers(rows), right=0.4)
    bench.rows(tickets(rows))
    job(bench, {"votes": 2, "ties": "review"})
    before = labelled(bench, sandbox.base_url)["label"]["gold"]
    ties = bench.results().filter(bench.results()["voted_label"].is_null())["row_id"].to_list()
    assert len(ties) > 20
    assert before["rows"] == rows
    truth = {row["id"]: row["truth"] for row in tickets(rows)}
    after = labelled(bench, sandbox.base_url, "--gold", write_gold(bench, {row: truth[row] for row in ties}))["label"]
    assert (after["gold"]["rows"], after["gold"]["right"]) == (before["rows"], before["right"])
    assert (after["gold"]["low"], after["gold"]["high"]) == (before["low"], before["high"])


def test_wrong_gold_is_suspected_where_all_votes_contradict_it(bench, sandboxes):
    """Of swapped gold labels those whose votes all agree stand in the review as what they are."""
    rows = 120
    sandbox = sandboxes(labels=answers(rows), right=0.97)
    swapped = {f"r{n}" for n in range(0, rows, 10)}
    bench.rows([
        {**row, "truth": NAMES[(NAMES.index(row["truth"]) + 1) % 4]} if row["id"] in swapped else row
        for row in tickets(rows)
    ])  # fmt: skip
    job(bench, {"votes": 3})
    told = labelled(bench, sandbox.base_url)["label"]
    lines = [json.loads(line) for line in (bench.folder / "out" / "review.jsonl").read_text().splitlines()]
    suspects = {line["row_id"] for line in lines if line["kind"] == "gold"}
    assert told["suspected_gold_errors"] == len(suspects)
    assert len(suspects & swapped) >= 10
    assert "contradict gold" in next(line["why"] for line in lines if line["kind"] == "gold")


def test_the_gate_stops_early_and_a_label_without_recall_does_not_pass(bench, sandboxes):
    """Bad gold rows are found out after one look; a class that is never found stops the run though the rest is right."""
    rows = 400
    sandbox = sandboxes(labels=answers(rows), right=0.5)
    bench.rows(tickets(rows))
    job(bench, {"min_accuracy": 0.9})
    told = labelled(bench, sandbox.base_url, expect=3)
    assert calls(sandbox) == 50
    assert "of 50 gold rows" in told["termination"]["message"]
    blind = sandboxes(labels=answers(rows), right=1.0, confusion={"praise": {"other": 1.0}})
    job(bench, {"min_accuracy": 0.6, "min_recall": {"praise": 0.5}}, output="blind")
    told = labelled(bench, blind.base_url, expect=3)
    assert "gold rows of 'praise' were found" in told["termination"]["message"]
    assert calls(blind) < rows


@pytest.mark.parametrize(
    ("label", "code", "said"),
    [
        ({"min_accuracy": 0.95}, 0, "8 gold rows cannot show 95.0%"),
        ({"min_recall": {"praise": 0.9}}, 0, "2 gold rows of 'praise' cannot show 90.0%"),
        ({"min_recall": {"nothing": 0.9}}, 2, "min_recall names 'nothing'"),
        ({"min_recall": {"praise": 1.9}}, 2, "the recall of 'praise' is a share"),
    ],
)
def test_a_gate_that_cannot_open_is_told(bench, label, code, said):
    """Gold rows that could not show what is asked, were all of them right, are told before a call is paid."""
    bench.rows(tickets(8))
    job(bench, label)
    ended = bench.run("http://127.0.0.1:9", "check", "job.yaml")
    assert (ended.code, said in ended.err) == (code, True), ended.err


def test_an_output_of_before_goes_on_and_pays_for_new_rows_alone(bench, sandboxes):
    """An output whose manifest knows no order keeps its answers; a new output gives its rows orders of their own."""
    sandbox = sandboxes(labels=answers(31), right=0.8)
    bench.rows(tickets(30))
    job(bench, {"votes": 3, "order": "vote"})
    labelled(bench, sandbox.base_url)
    manifest = bench.manifest()
    del manifest["job"]["label"]["order"]
    (bench.folder / "out" / "run.json").write_text(json.dumps(manifest))
    assert bench.run("", "status", "out", "--verify").code == 0
    keys = bench.results()["request_key"].to_list()
    paid = calls(sandbox)
    bench.rows(tickets(31))
    job(bench, {"votes": 3})
    told = labelled(bench, sandbox.base_url)
    assert told["job"]["label"]["order"] == "vote"
    assert bench.results()["request_key"].to_list()[:30] == keys
    assert calls(sandbox) - paid == len(bench.results()["votes"].to_list()[30])
    told = labelled(bench, sandbox.base_url, "-o", "anew")
    assert told["job"]["label"]["order"] == "row"
    assert told["label"]["position"]["rows"] == 31
    assert bench.run("", "status", "anew", "--verify").code == 0


def test_check_says_what_a_cascade_costs(bench):
    """Before anything is paid: a cascade dearer than its strong model, and a threshold that can never escalate."""
    bench.rows(tickets(8))
    job(bench, {"votes": 3, "escalate": {"model": STRONG}})
    assert f"costs more than {STRONG} alone" in bench.run("", "check", "job.yaml").out
    assert f"costs more than {STRONG} alone" in bench.run("", "estimate", "job.yaml").out
    job(bench, {"labels": ["a", "b"], "gold": None, "votes": 3, "escalate": {"model": STRONG, "below": 0.66}})
    assert "no row can be escalated" in bench.run("", "check", "job.yaml").out
