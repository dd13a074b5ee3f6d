"""`rowmill label` from the outside: votes, gold, the gate, escalation, people's corrections, and how good it all is."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from rowmill.sandbox.process import Running
from rowmill.schemas.catalogue import find_model
from rowmill.schemas.job import Job
from rowmill.schemas.label import Vote
from rowmill.schemas.row import Row
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.job.job_file import catalogue_of
from rowmill.tasks.plan.label_prompt import as_asked, labels_in
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.vote_rules import winner
from tests.conftest import KEY, Bench, assert_balanced, money

NAMES = ["billing", "shipping", "praise", "other"]
ROOT = Path(__file__).resolve().parent.parent.parent
CHEAP, STRONG = "gemini-3-flash", "gemini-3-pro"


def tickets(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n}", "text": f"ticket {n:05d} says this", "truth": NAMES[n % 4]} for n in range(first, first + count)
    ]


def answers(count: int) -> dict[str, str]:
    """What the sandbox knows to be right."""
    return {f"ticket {n:05d} says": NAMES[n % 4] for n in range(count)}


def labelled(bench: Bench, base_url: str, *args: str, expect: int = 0, file: str = "job.yaml") -> dict[str, Any]:
    ended = bench.run(base_url, "label", file, "--direct", "--json", *args)
    assert ended.code == expect, ended.err
    assert_balanced(ended.manifest, bench.results(Path(ended.manifest["output"]).name))
    return ended.manifest


def job(bench: Bench, label: dict[str, Any], **keys: Any) -> None:
    told = {"labels": NAMES, "gold": "truth", **label}
    bench.job(**{"model": CHEAP, "id": "id", "prompt": "{{ text }}", "label": told, **keys})


def without_gold(bench: Bench, count: int) -> None:
    bench.rows([{"id": row["id"], "text": row["text"]} for row in tickets(count)])


def calls(sandbox: Running) -> int:
    return int(sandbox.books()["billed_calls"])


def test_measured_accuracy_recovers_the_gateways_own(bench, sandboxes):
    """One vote a row, right with probability 0.8: accuracy, its interval, κ and recall tell that 0.8."""
    rows, p = 1_200, 0.8
    sandbox = sandboxes(labels=answers(rows), right=p)
    bench.rows(tickets(rows))
    job(bench, {})
    told = labelled(bench, sandbox.base_url)["label"]
    gold = told["gold"]
    spread = math.sqrt(p * (1 - p) / rows)
    assert gold["rows"] == rows
    assert abs(gold["accuracy"] - p) < 4 * spread
    assert gold["low"] < p < gold["high"]
    # Wrong answers are spread evenly over the three others: chance agrees in a quarter of the rows.
    assert gold["cohen_kappa"] == pytest.approx((gold["accuracy"] - 0.25) / 0.75, abs=0.01)
    assert all(abs(one["recall"] - p) < 4 * spread * 2 for one in gold["labels"])
    assert sum(told["labels"].values()) == rows
    results = bench.results()
    assert results["correct"].sum() == gold["right"]
    assert (results["label"] == results["truth" if "truth" in results.columns else "gold"]).sum() == gold["right"]


def test_confusion_is_recovered_label_by_label(bench, sandboxes):
    """Where half of one label is said to be another, the matrix shows that cell, and its recall and precision fall."""
    rows = 800
    sandbox = sandboxes(labels=answers(rows), confusion={"billing": {"shipping": 0.5, "billing": 0.5}})
    bench.rows(tickets(rows))
    job(bench, {})
    gold = labelled(bench, sandbox.base_url)["label"]["gold"]
    cells = {(one["gold"], one["label"]): one["rows"] for one in gold["confusion"]}
    assert abs(cells["billing", "shipping"] - 100) < 4 * math.sqrt(200 * 0.25)
    assert cells["billing", "billing"] + cells["billing", "shipping"] == 200
    scores = {one["label"]: one for one in gold["labels"]}
    assert scores["billing"]["recall"] == pytest.approx(cells["billing", "billing"] / 200)
    assert scores["shipping"]["precision"] == pytest.approx(200 / (200 + cells["billing", "shipping"]))
    assert scores["praise"] == {"label": "praise", "gold_rows": 200, "labelled_rows": 200, "precision": 1.0, "recall": 1.0,
                                "f1": 1.0}  # fmt: skip


def every_vote(sandbox: Running, told: Job, row: Row, count: int) -> list[Vote]:
    """What the gateway says to each vote of a row, asked directly."""
    model = find_model(told.model, catalogue_of(told, None))
    found = []
    for number in range(count):
        request = Planner(as_asked(told, number), model, sandbox=False).plan(row)
        protocol = PROTOCOLS[model.protocol]
        url = f"{sandbox.base_url}/v1/chat/completions" if model.protocol == "chat-completions" else (
            f"{sandbox.base_url}/v1beta/models/{model.name}:generateContent")  # fmt: skip
        answer = httpx.post(
            url, content=protocol.wire(request.body, stream=False), headers={"Authorization": f"Bearer {KEY}"}
        )
        text = json.loads(answer.content)["choices"][0]["message"]["content"]
        found.append(Vote(model.name, labels_in(text, told.label)))
    return found


@pytest.mark.nightly
def test_early_stopping_pays_less_for_the_same_labels(bench, sandboxes):
    """Five votes with early stopping: each row's label is that of all five, asked one by one, for fewer calls."""
    rows = 60
    sandbox = sandboxes(labels=answers(rows), right=0.6)
    bench.rows(tickets(rows))
    job(bench, {"votes": 5}, model=STRONG)
    told = labelled(bench, sandbox.base_url)
    assert calls(sandbox) == told["label"]["votes"] < 5 * rows
    whole = Job.model_validate(
        {"model": STRONG, "input": "i", "output": "o", "prompt": "{{ text }}",
         "label": {"labels": NAMES, "gold": "truth", "votes": 5}}
    )  # fmt: skip
    results = bench.results()
    for row in tickets(rows):
        every = every_vote(sandbox, whole, Row(0, row["id"], row, "f", 1), 5)
        said = results.filter(row_id=row["id"])
        assert said["label"][0] == winner(whole.label, every)[0]
        assert len(said["votes"][0]) >= 3
        assert [vote["label"] for vote in said["votes"][0]] == [
            vote.labels[0] for vote in every[: len(said["votes"][0])]
        ]


def test_a_row_costs_what_its_votes_cost(bench, sandboxes):
    """The cost, tokens and attempts of a row are the sums of its votes, and all rows together what the gateway billed."""
    sandbox = sandboxes(labels=answers(80), right=0.6, right_of={STRONG: 0.95}, faults={"wrong_schema": 0.1})
    bench.rows(tickets(80))
    job(bench, {"votes": 3, "escalate": {"model": STRONG}, "reason": True}, keep=["truth"])
    told = labelled(bench, sandbox.base_url)
    results = bench.results()
    for row in results.iter_rows(named=True):
        for name in ("cost_usd", "cost_credits", "input_tokens", "output_tokens", "thought_tokens", "attempts"):
            assert row[name] == sum(vote[name] for vote in row["votes"])
        assert row["agreement"] == pytest.approx(
            sum(vote["label"] == row["label"] for vote in row["votes"]) / len(row["votes"])
        )
    assert money(results["cost_usd"].sum()) == money(sandbox.books()["billed_usd"])
    assert told["label"]["votes"] == sum(len(votes) for votes in results["votes"])
    assert results["output"].struct.field("reason").null_count() == 0
    escalated = results.filter(pl.col("votes").list.eval(pl.element().struct.field("model") == STRONG).list.any())
    first = [[vote["label"] for vote in votes if vote["model"] == CHEAP] for votes in escalated["votes"]]
    assert first
    assert all(len(set(labels)) > 1 for labels in first)
    assert told["label"]["escalation"]["rows"] == escalated.height
    assert told["prices_escalated"]["version"]
    assert told["label"]["escalation"]["right_after"] >= told["label"]["escalation"]["right_before"]


def test_gold_changes_no_request_and_cannot_be_shown(bench, sandboxes):
    """Other gold asks the same: not one request changes. A prompt that names the gold column is refused."""
    sandbox = sandboxes(labels=answers(20))
    bench.rows(tickets(20))
    job(bench, {"votes": 3})
    labelled(bench, sandbox.base_url, "-o", "a")
    bench.rows([{**row, "truth": "other"} for row in tickets(20)])
    labelled(bench, sandbox.base_url, "-o", "b")
    one, two = bench.results("a"), bench.results("b")
    assert one["request_key"].to_list() == two["request_key"].to_list()
    assert one["label"].to_list() == two["label"].to_list()
    assert two["gold"].unique().to_list() == ["other"]
    # In one output the changed rows are known by their requests, and paid for no second time.
    before = calls(sandbox)
    labelled(bench, sandbox.base_url, "-o", "a")
    assert calls(sandbox) == before
    assert bench.results("a")["gold"].unique().to_list() == ["other"]
    job(bench, {}, prompt="{{ text }} {{ truth }}")
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct")
    assert ended.code == 2
    assert "the prompt names the gold column 'truth', which is never shown to the model" in ended.err


def test_bad_gold_rows_stop_the_run_before_the_rest_is_paid(bench, sandboxes):
    """Below min_accuracy only the gold rows were asked: exit 3 and a reason. A lower gate goes on, paying none again."""
    sandbox = sandboxes(labels=answers(300), right=0.5)
    rows = tickets(300)
    bench.rows([row if n % 6 == 0 else {**row, "truth": None} for n, row in enumerate(rows)])
    job(bench, {"min_accuracy": 0.9})
    told = labelled(bench, sandbox.base_url, expect=3)
    assert calls(sandbox) == 50
    assert told["termination"]["kind"] == "accuracy"
    assert "of 50 gold rows" in told["termination"]["message"]
    assert "90.0%" in told["termination"]["message"]
    assert told["ledger"]["not_attempted"] == 250
    labelled(bench, sandbox.base_url, expect=3)
    assert calls(sandbox) == 50
    job(bench, {"min_accuracy": 0.2})
    told = labelled(bench, sandbox.base_url)
    assert calls(sandbox) == 300
    assert told["termination"]["kind"] == "complete"
    assert told["label"]["gold"]["rows"] == 50


def test_good_gold_rows_let_the_run_go_on(bench, sandboxes):
    """Above min_accuracy the run asks the gold rows first and then all others, in one go."""
    sandbox = sandboxes(labels=answers(100), right=0.95, detail=True)
    rows = tickets(100)
    bench.rows([row if n >= 80 else {**row, "truth": ""} for n, row in enumerate(rows)])
    job(bench, {"min_accuracy": 0.7}, limits={"concurrency": 4})
    labelled(bench, sandbox.base_url)
    first = [one["text"] for one in sandbox.books(detail=True)["detail"][:20]]
    assert all(any(f"ticket {n:05d}" in text for n in range(80, 100)) for text in first)
    assert calls(sandbox) == 100


def test_a_gate_needs_gold_among_the_rows_it_is_asked_for(bench, sandboxes):
    """With --limit the gate is about the rows of the limit; without gold among them it is refused before a call."""
    sandbox = sandboxes(labels=answers(40), right=1.0)
    bench.rows([row if n >= 20 else {**row, "truth": None} for n, row in enumerate(tickets(40))])
    job(bench, {"min_accuracy": 0.5})
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct", "-n", "10")
    assert ended.code == 2
    assert "there is none among the first 10" in ended.err
    assert labelled(bench, sandbox.base_url, "-n", "25")["label"]["gold"]["rows"] == 5


def test_a_refused_key_ends_a_labelling_run_like_any_other(bench, sandboxes):
    """Where nothing was settled there is nothing to score: exit 5, and the reason."""
    sandbox = sandboxes(faults={"invalid_api_key": 1.0})
    bench.rows(tickets(4))
    job(bench, {"min_accuracy": 0.5})
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct", "--json")
    assert ended.code == 5, ended.err
    assert ended.manifest["label"] is None


def test_killed_votes_are_not_paid_again(bench, sandboxes):
    """After kills at random moments each vote was paid once, but for those in flight at a kill."""
    sandbox = sandboxes(labels=answers(300), right=0.6, latency_ms=40)
    bench.rows(tickets(300))
    job(bench, {"votes": 5}, limits={"concurrency": 8})
    died = 0
    for wait in (0.7, 0.9, 1.3):
        process = bench.start(sandbox.base_url, "label", "job.yaml", "--direct", "-q")
        time.sleep(wait)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            died += 1
        process.communicate()
    assert died
    told = labelled(bench, sandbox.base_url)
    assert told["ledger"]["ok"] == 300
    books = sandbox.books()
    assert books["billed_calls"] - told["label"]["votes"] <= died * 8
    spent, bound = (money(told["totals"][name]) for name in ("cost_usd", "unknown_cost_bound_usd"))
    assert spent <= money(books["billed_usd"]) <= spent + bound


def test_a_spend_limit_keeps_the_votes_that_were_paid(bench, sandboxes):
    """Stopped for money in the middle of votes, the run goes on from them: the gateway billed what the rows cost."""
    sandbox = sandboxes(labels=answers(60), right=0.6, spend_limit_usd="0.05")
    bench.rows(tickets(60))
    job(bench, {"votes": 5}, limits={"concurrency": 4})
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct", "--json")
    assert ended.code == 4, ended.err
    told = ended.manifest
    assert "calls for rows that are not settled" in ended.err
    assert told["termination"]["kind"] == "spend_limit"
    assert told["ledger"]["not_attempted"] > 0
    assert money(told["totals"]["cost_usd"]) + money(told["beside"]["cost_usd"]) == money(sandbox.books()["billed_usd"])
    sandbox.change(spend_limit_usd=None)
    told = labelled(bench, sandbox.base_url)
    assert money(told["totals"]["cost_usd"]) == money(sandbox.books()["billed_usd"])
    assert calls(sandbox) == told["label"]["votes"]


def corrected(bench: Bench, form: str, told: dict[str, str]) -> str:
    """A file of people's labels in one of the forms."""
    path = bench.folder / f"back.{form}"
    if form == "csv":
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["row_id", "gold"])
            writer.writerows(told.items())
    elif form == "min.json":
        path.write_text(json.dumps([{"id": 1, "row_id": row, "label": name} for row, name in told.items()]))
    elif form == "json":
        path.write_text(json.dumps([
            {"data": {"row_id": row}, "annotations": [{"result": [{"type": "choices", "value": {"choices": [name]}}]}]}
            for row, name in told.items()
        ]))  # fmt: skip
    else:
        path.write_text("".join(json.dumps({"row_id": row, "label": name}) + "\n" for row, name in told.items()))
    return path.name


@pytest.mark.parametrize("form", ["jsonl", "csv", "json", "min.json"])
def test_peoples_labels_come_back_and_stay(bench, sandboxes, form):
    """Handed in, they are the rows' labels and gold at no cost; no later run overwrites them, whatever it asks again."""
    sandbox = sandboxes(labels=answers(41), right=1.0)
    without_gold(bench, 40)
    job(bench, {"gold": None, "votes": 3})
    labelled(bench, sandbox.base_url)
    paid = calls(sandbox)
    file = corrected(bench, form, {"r3": "praise", "r4": "billing"})
    told = labelled(bench, sandbox.base_url, "--gold", file)
    assert calls(sandbox) == paid
    assert (told["label"]["corrections"], told["label"]["gold"]["rows"], told["label"]["gold"]["right"]) == (2, 2, 1)
    without_gold(bench, 41)
    told = labelled(bench, sandbox.base_url)
    assert calls(sandbox) == paid + 2
    results = bench.results()
    row = results.filter(row_id="r3").row(0, named=True)
    assert (row["label"], row["gold"], row["voted_label"], row["correct"]) == ("praise", "praise", "other", False)
    row = results.filter(row_id="r4").row(0, named=True)
    assert (row["label"], row["gold"], row["voted_label"], row["correct"]) == ("billing", "billing", "billing", True)
    assert told["label"]["corrections"] == 2
    # Made afresh, the rows are asked again, and people's labels stand.
    labelled(bench, sandbox.base_url, "--fresh")
    assert calls(sandbox) > paid + 2
    assert bench.results().filter(row_id="r3")["label"].to_list() == ["praise"]


def test_what_people_hand_back_is_taken_whole_or_not_at_all(bench, sandboxes):
    """A spreadsheet's semicolons, two people who disagree, a row that is not there, a file without labels: no call is sent."""
    wild = ROOT / "tests" / "data" / "wild" / "feedback"
    corpus = json.loads((wild / "feedback.json").read_text())
    texts, single = corpus["texts"], corpus["jobs"]["single"]
    sandbox = sandboxes(labels={text: single["votes"][row] for row, text in texts.items()}, right=1.0)
    bench.rows([{"id": row, "text": text} for row, text in texts.items()])
    job(bench, {"labels": single["labels"], "gold": None}, id="id")
    labelled(bench, sandbox.base_url)
    paid = calls(sandbox)
    for name in ("no_label.csv", "unknown_label.csv"):
        ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct", "--json", "--gold", str(wild / name))
        assert (ended.code, name in ended.err) == (2, True)
        assert not (bench.folder / "out" / "gold.jsonl").exists()
    ended = bench.run(
        sandbox.base_url, "label", "job.yaml", "--direct", "--json", "--gold", str(wild / "unknown_row.csv")
    )
    assert "1 row that people labelled not in this input: r99" in ended.err
    labelled(bench, sandbox.base_url, "--gold", str(wild / "excel_de.csv"))
    given = next(case["gives"] for case in corpus["files"] if case["file"] == "excel_de.csv")
    results = {row["row_id"]: row for row in bench.results().iter_rows(named=True)}
    assert {row: one["gold"] for row, one in results.items() if one["gold"]} == given
    assert all(one["label"] == given.get(row, single["votes"][row]) for row, one in results.items())
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct", "--json", "-o", "out", "--gold",
                      str(wild / "two_annotators.csv"))  # fmt: skip
    assert "r2: A says billing, B says delivery" in ended.err
    # r2 was decided before, and a new disagreement takes nothing away; r3 stays with people.
    results = {row["row_id"]: row for row in bench.results().iter_rows(named=True)}
    assert (results["r2"]["label"], results["r3"]["gold"]) == ("delivery", None)
    assert calls(sandbox) == paid


def test_review_lists_what_people_should_see_and_takes_it_back(bench, sandboxes):
    """Rows of little agreement and invalid ones, with text and votes; filled in where it lies, it is taken in."""
    sandbox = sandboxes(labels=answers(60), right=0.4)
    rows = tickets(60)
    rows[5]["text"] += " [[fault:wrong_schema]]"
    bench.rows([{"id": row["id"], "text": row["text"]} for row in rows])
    job(bench, {"gold": None, "votes": 3, "ties": "review"}, retries={"content": 0})
    told = labelled(bench, sandbox.base_url, expect=3)
    path = bench.folder / "out" / "review.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    results = bench.results()
    low = results.filter((pl.col("agreement") < 0.51) | (pl.col("status") == "invalid"))
    assert {line["row_id"] for line in lines} == set(low["row_id"])
    assert told["label"]["review"] == len(lines) > 5
    assert all(line["gold"] is None and line["text"].startswith("ticket") and line["why"] for line in lines)
    undecided = results.filter(pl.col("label").is_null() & (pl.col("status") == "ok"))
    assert undecided.height > 0
    assert all(len({vote["label"] for vote in votes}) == 3 for votes in undecided["votes"])
    paid = calls(sandbox)
    for line in lines[:2]:
        line["gold"] = "praise"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = labelled(bench, sandbox.base_url, expect=3)
    assert calls(sandbox) == paid
    assert told["label"]["corrections"] == 2
    for line in lines[:2]:
        assert bench.results().filter(row_id=line["row_id"])["label"].to_list() == ["praise"]
    assert len(path.read_text().splitlines()) == len(lines) - 2


def test_exports_open_in_a_spreadsheet_and_in_label_studio(bench, sandboxes):
    """CSV with a column to fill in; Label Studio tasks with predictions, and an interface that offers the labels."""
    sandbox = sandboxes(labels=answers(40), right=0.4)
    bench.rows([{**row, "text": f'{row["text"]} <b>"x"</b>, =1+1'} for row in tickets(40)])
    job(bench, {"votes": 3, "labels": {"billing": "money & <bills>", "shipping": "", "praise": "", "other": ""}})
    labelled(bench, sandbox.base_url)
    assert bench.run("", "export", "out", "review.csv", "--review").code == 0
    with open(bench.folder / "review.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len((bench.folder / "out" / "review.jsonl").read_text().splitlines())
    assert all(row["text"].endswith('<b>"x"</b>, =1+1') and row["gold"] == "" for row in rows)
    assert bench.run("", "export", "out", "all.json").code == 0
    tasks = json.loads((bench.folder / "all.json").read_text())
    results = bench.results()
    assert [task["data"]["row_id"] for task in tasks] == results["row_id"].to_list()
    said = [task["predictions"][0]["result"][0]["value"]["choices"][0] for task in tasks]
    assert said == results["voted_label"].to_list()
    assert tasks[0]["annotations"][0]["result"][0]["value"]["choices"] == ["billing"]
    interface = (bench.folder / "all.xml").read_text()
    assert 'value="billing" hint="money &amp; &lt;bills&gt;"' in interface
    # Label Studio's own export of those annotations comes back as gold.
    before = calls(sandbox)
    told = labelled(bench, sandbox.base_url, "--gold", "all.json")
    assert told["label"]["corrections"] == 40
    assert calls(sandbox) == before


def test_several_labels_a_row(bench, sandboxes):
    """With multi the labels are lists: empty ones too; gold may be written as a list or as text parted by bars."""
    truth = {f"ticket {n:05d} says": [name for at, name in enumerate(NAMES) if n >> at & 1] for n in range(16)}
    sandbox = sandboxes(labels=truth, right=0.9)
    bench.rows([
        {"id": f"r{n}", "text": f"ticket {n:05d} says", "truth": told if n % 2 else ("|".join(told) or [])}
        for n, told in enumerate(truth.values())
    ])  # fmt: skip
    job(bench, {"multi": True, "votes": 5})
    gold = labelled(bench, sandbox.base_url)["label"]["gold"]
    results = bench.results()
    assert str(results["label"].dtype) == "List(String)"
    assert gold["rows"] == 16
    assert gold["right"] >= 12
    assert results["gold"].to_list()[:4] == [[], ["billing"], ["shipping"], ["billing", "shipping"]]
    assert all(one["f1"] > 0.8 for one in gold["labels"])


def test_labels_from_a_column_and_examples_from_gold(bench, sandboxes):
    """The column's values are the labels; examples are shown, left out of the scores, and kept when rows are added."""
    sandbox = sandboxes(labels=answers(40))
    bench.rows(tickets(30))
    bench.job(model=STRONG, id="id", prompt="{{ text }}", label={"column": "truth", "gold": "truth", "examples": 6})
    told = labelled(bench, sandbox.base_url)
    assert list(told["label"]["labels"]) == sorted(NAMES)
    assert told["label"]["gold"]["rows"] == 24
    shown = told["job"]["label"]["examples"]
    assert [one["label"] for one in shown[:4]] == sorted(NAMES)
    results = bench.results()
    assert results.filter(pl.col("row_id").is_in([one["row_id"] for one in shown]))["correct"].null_count() == 6
    paid = calls(sandbox)
    bench.rows([*tickets(30), *tickets(10, 30)])
    told = labelled(bench, sandbox.base_url)
    assert calls(sandbox) == paid + 10
    assert told["job"]["label"]["examples"] == shown


def test_identical_rows_are_paid_once_with_their_votes(bench, sandboxes):
    """A row whose request another row pays for has its label and votes, at no cost, and gold of its own."""
    sandbox = sandboxes(labels=answers(1), right=0.6)
    same = {"text": "ticket 00000 says this"}
    bench.rows([{"id": "one", "truth": "billing", **same}, {"id": "two", "truth": "other", **same}])
    job(bench, {"votes": 3})
    told = labelled(bench, sandbox.base_url)
    one, two = bench.results().iter_rows(named=True)
    assert (one["label"], [vote["label"] for vote in one["votes"]]) == (
        two["label"],
        [v["label"] for v in two["votes"]],
    )
    assert two["reused_from"] == "one"
    assert (two["cost_usd"], sum(vote["cost_usd"] for vote in two["votes"])) == (0, 0)
    assert (one["gold"], two["gold"]) == ("billing", "other")
    assert calls(sandbox) == len(one["votes"])
    assert told["totals"]["rows_reused"] == 1


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"labels": ["a", "a"]}, "the label 'a' stands twice: drop one of the two"),
        ({"labels": ["a"]}, "name at least two"),
        ({"labels": [True, False]}, "put it in quotes"),
        ({"labels": ["a", " b"]}, "begins or ends with a space"),
        ({"labels": ["a", "b\nc"]}, "holds a line break"),
        ({"labels": ["a", "b|c"], "multi": True}, "holds a |"),
        ({}, "give either labels (a list) or column"),
        ({"labels": ["a", "b"], "column": "truth"}, "give either labels (a list) or column"),
        ({"labels": ["a", "b"], "votes": 0}, "label.votes"),
        ({"labels": ["a", "b"], "gold": "truth"}, "the gold label 'billing' is not among the labels (a, b)"),
        ({"labels": NAMES, "gold": "empty"}, "the gold column 'empty' is empty in every row"),
        ({"labels": NAMES, "gold": "nowhere"}, "no row has the column 'nowhere'"),
        ({"column": "same"}, "holds 1 different labels; at least two are needed"),
        ({"column": "structure"}, "is no label"),
        ({"column": "truth", "examples": [{"text": "t", "label": "z"}]}, "the label 'z', which is not in the column"),
        ({"labels": NAMES, "examples": 3}, "name the gold column, or list the examples themselves"),
        ({"labels": NAMES, "examples": [{"text": "t", "label": "z"}]}, "the label 'z', which is not among the labels"),
        ({"labels": NAMES, "min_accuracy": 0.9}, "min_accuracy needs rows with gold labels"),
        ({"labels": NAMES, "escalate": {"model": CHEAP}}, "cannot be escalated to gemini-3-flash itself"),
        ({"labels": NAMES, "escalate": {"model": "gemini-9"}}, "gemini-9"),
        ({"labels": NAMES, "lables": []}, "did you mean 'labels'"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_right_are_refused(bench, label, said):
    """`check` and `label` refuse it before anything is sent, in one line that names the mend."""
    bench.rows([{**row, "empty": None, "same": "x", "structure": {"a": 1}} for row in tickets(4)])
    bench.job(model=CHEAP, id="id", prompt="{{ text }}", label=label)
    for command in (("check", "job.yaml"), ("label", "job.yaml", "--direct")):
        ended = bench.run("http://127.0.0.1:9", *command)
        assert ended.code == 2, ended.err
        assert said in ended.err
        assert "Traceback" not in ended.err
        assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"schema": {"type": "object"}}, "label and schema cannot be used together"),
        ({"tools": [{"name": "f"}]}, "label and tools cannot be used together"),
        (
            {"params": {"temperature": 0}, "label": {"labels": NAMES, "votes": 3, "shuffle": False}},
            "one answer many times",
        ),
        ({"attachments": ["truth"], "label": {"labels": NAMES, "gold": "truth"}}, "never shown to the model"),
    ],
)
def test_jobs_that_cannot_label_are_refused(bench, keys, said):
    """What excludes labels, or would pay for nothing, is refused with the way out."""
    bench.rows(tickets(4))
    bench.job(**{"model": CHEAP, "label": {"labels": NAMES}, **keys})
    ended = bench.run("http://127.0.0.1:9", "check", "job.yaml")
    assert ended.code == 2
    assert said in ended.err


def test_check_tells_a_problem_of_a_labelling_job_once(bench):
    """What the model does not offer is one line, though each vote would meet it."""
    bench.rows(tickets(4))
    job(bench, {"votes": 3}, params={"max_output_tokens": 10_000_000})
    ended = bench.run("", "check", "job.yaml")
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("g.jsonl", '{"row_id": "r0", "gold": "nonsense"}\n', "line 1: the label 'nonsense' is not among the labels"),
        ("g.jsonl", '{"gold": "billing"}\n', "a label without a row_id"),
        ("g.jsonl", "not json\n", "line 1: not valid JSON"),
        ("g.json", "[1]", "a list of tasks is expected"),
        ("g.json", '[{"row_id": "r1", "label": "nonsense"}]', "the label 'nonsense' is not among the labels"),
        ("missing.csv", None, "cannot be read"),
    ],
)
def test_corrections_that_cannot_be_right_are_refused(bench, name, text, said):
    """A file of people's labels is read whole before anything is sent; what is wrong is named by line."""
    bench.rows(tickets(4))
    job(bench, {})
    if text is not None:
        (bench.folder / name).write_text(text)
    ended = bench.run("http://127.0.0.1:9", "label", "job.yaml", "--direct", "--gold", name)
    assert ended.code == 2
    assert said in ended.err
    assert not (bench.folder / "out").exists()


def test_an_empty_input_is_labelled_in_no_time(bench, sandboxes):
    """A nightly file without rows ends well, gold and gate or not; people's labels for other rows are told."""
    sandbox = sandboxes()
    bench.rows([])
    job(bench, {"min_accuracy": 0.9, "votes": 3})
    file = corrected(bench, "csv", {"r1": "praise"})
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--direct", "--json", "--gold", file)
    assert ended.code == 0, ended.err
    assert "1 row that people labelled not in this input" in ended.err
    assert ended.manifest["ledger"]["rows"] == 0


def test_a_job_without_labels_is_told_what_to_do(bench):
    """`label` on a plain job, and --gold on it, name the way out."""
    bench.rows(tickets(2))
    bench.job()
    ended = bench.run("http://127.0.0.1:9", "label", "job.yaml", "--direct")
    assert ended.code == 2
    assert "the job has no labels" in ended.err


def test_an_answer_outside_the_labels_is_asked_again_then_invalid(bench, sandboxes):
    """Labels are a closed set: another word is asked again as often as the job says, and paid for, then invalid."""
    sandbox = sandboxes(labels={"ticket 00001": "surprise"})
    bench.rows(tickets(2))
    job(bench, {"gold": None}, retries={"content": 2})
    told = labelled(bench, sandbox.base_url, expect=3)
    row = bench.results().filter(row_id="r1").row(0, named=True)
    assert (row["status"], row["label"], row["error_kind"], row["attempts"]) == ("invalid", None, "schema_violation", 3)
    assert "surprise" in row["error_message"]
    assert row["cost_usd"] == row["wasted_cost_usd"] > 0
    assert told["label"]["rows_without_label"] == 1


def test_compare_tells_which_labels_flipped_and_which_run_is_better(bench, sandboxes):
    """Two models over the same rows: flips with examples, and McNemar's test on the rows only one of them has right."""
    sandbox = sandboxes(labels=answers(400), right_of={CHEAP: 0.7, STRONG: 0.95})
    bench.rows(tickets(400))
    job(bench, {})
    labelled(bench, sandbox.base_url, "-o", "cheap")
    labelled(bench, sandbox.base_url, "-o", "strong", "-m", STRONG)
    told = bench.run("", "compare", "cheap", "strong", "--json").manifest["labels"]
    one, two = bench.results("cheap"), bench.results("strong")
    differ = (one["label"] != two["label"]).sum()
    assert told["flipped"] == differ == sum(flip["rows"] for flip in told["flips"])
    flip = told["flips"][0]
    assert one.filter(row_id=flip["examples"][0])["label"].to_list() == [flip["from"]]
    assert two.filter(row_id=flip["examples"][0])["label"].to_list() == [flip["to"]]
    gold = told["gold"]
    assert gold["only_a"] == (one["correct"] & ~two["correct"]).sum()
    assert gold["right_b"] > gold["right_a"]
    assert gold["p"] < 1e-6
    text = bench.run("", "compare", "cheap", "strong").out
    assert "McNemar p" in text
    same = bench.run("", "compare", "cheap", "cheap", "--json").manifest["labels"]
    assert (same["flipped"], same["gold"]["p"]) == (0, 1.0)


def test_an_estimate_counts_the_votes(bench, sandboxes):
    """A pilot's forecast of a labelling job holds what the run then costs, and the ceiling is above it."""
    sandbox = sandboxes(labels=answers(400), right=0.7, right_of={STRONG: 0.95})
    bench.rows(tickets(400))
    job(bench, {"votes": 3, "escalate": {"model": STRONG}}, params={"max_output_tokens": 2_000})
    prior = bench.run(sandbox.base_url, "estimate", "job.yaml", "--json").manifest
    assert prior["basis"] == "prior"
    piloted = bench.run(sandbox.base_url, "estimate", "job.yaml", "--pilot", "80", "--json").manifest
    told = labelled(bench, sandbox.base_url)
    actual = float(told["totals"]["cost_usd"])
    assert prior["cost_usd"]["low"] < actual < prior["cost_usd"]["high"]
    assert piloted["cost_usd"]["low"] < actual - piloted["spent_usd"] < piloted["cost_usd"]["bound_99"] * 1.05
    assert actual < prior["ceiling_usd"]
    assert told["forecast"]["basis"] == "random sample"


def test_the_report_shows_how_good_the_labels_are(bench, sandboxes):
    """The page has the scores, the confusion and the escalation; a label's markup stays text."""
    names = {"<script>alert(1)</script>": "hostile", "plain": "", "other": ""}
    truth = {f"ticket {n:05d} says": list(names)[n % 3] for n in range(60)}
    sandbox = sandboxes(labels=truth, right=0.7, right_of={STRONG: 0.95})
    bench = Bench(bench.folder, reports=True)
    bench.rows([{"id": f"r{n}", "text": text, "truth": label} for n, (text, label) in enumerate(truth.items())])
    job(bench, {"labels": names, "votes": 3, "escalate": {"model": STRONG}})
    labelled(bench, sandbox.base_url)
    page = (bench.folder / "out" / "report.html").read_text()
    for words in (
        "Cohen&#39;s κ",
        "Confusion matrix: gold down",
        "Calibration: accuracy by agreement",
        "Escalation",
        "macro F1",
    ):
        assert words in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_sample_job_runs(bench):
    """The sample data set, two models and gold, against the sandbox with its key of answers: better than its gate."""
    sample = ROOT / "sample_data" / "labelling"
    ended = bench.run(
        "", "label", str(sample / "job.yaml"), "--sandbox-settings", str(sample / "sandbox.json"), "--direct", "--json",
        "-o", "out",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    told = ended.manifest["label"]
    assert told["gold"]["accuracy"] > 0.9
    assert told["gold"]["rows"] == 447 - 8
    assert told["escalation"]["rows"] > 0
    assert set(bench.results()["row_id"].str.slice(0, 2)) == {"en", "it"}


@pytest.mark.nightly
def test_the_prefect_flow_labels(bench, sandboxes):
    """Without --direct the flow `rowmill-label` does the same, with the gold rows first."""
    sandbox = sandboxes(labels=answers(40), right=0.9)
    bench.rows(tickets(40))
    job(bench, {"votes": 3, "min_accuracy": 0.5})
    home = bench.folder / "home"
    ended = bench.run(sandbox.base_url, "label", "job.yaml", "--json", PREFECT_HOME=str(home))
    assert ended.code == 0, ended.err
    with sqlite3.connect(home / "prefect.db") as prefect:
        assert prefect.execute("select name from flow").fetchall() == [("rowmill-label",)]
    assert ended.manifest["label"]["gold"]["rows"] == 40
