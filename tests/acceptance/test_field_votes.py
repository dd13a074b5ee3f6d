"""Votes for extraction from the outside: fields by majority, paid once, reviewed and escalated by the field in doubt."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from typing import Any

import polars as pl
import pytest

from tests.acceptance.test_fields import FLASH, INVOICE, PRO, job, number, rows, truth
from tests.conftest import Bench, assert_balanced, money
from tests.gateways import Ask, Gateway, Reply, serving

ROWS = 30


def said(n: int, vote: int) -> dict[str, Any]:
    """What the gateway answers to a vote about a row: each field is wrong with probability 0.25."""
    chance, answer = random.Random(f"{n} {vote}"), truth(n)
    if chance.random() < 0.25:
        answer["name"] = f"wrong {chance.randint(1, 2)}"
    if chance.random() < 0.25:
        answer["amount"] = -float(chance.randint(1, 2))
    if chance.random() < 0.25:
        answer["lines"][0]["qty"] = 90 + chance.randint(1, 2)
    return answer


def noisy(ask: Ask) -> Reply:
    return Reply(text=json.dumps(said(number(ask), ask.seen)))


def voted(bench: Bench, gateway: Gateway, *args: str, expect: int = 0) -> dict[str, Any]:
    ended = bench.run(gateway.url, "run", "job.yaml", "--direct", "--json", *args)
    assert ended.code == expect, ended.err
    assert_balanced(ended.manifest, bench.results())
    return ended.manifest


def most_said(values: list[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


@pytest.mark.parametrize("model", [FLASH, PRO])
def test_each_field_is_that_of_most_votes_for_fewer_calls(bench, model):
    """The output is what all votes make of each field, though the last ones are mostly not asked."""
    rows(bench, ROWS)
    job(bench, model=model, votes=5)
    with serving(noisy) as gateway:
        told = voted(bench, gateway)
        asked = Counter(map(number, gateway.asks))
        bodies = {n: {ask.request for ask in gateway.asks if number(ask) == n} for n in range(ROWS)}
    results = bench.results()
    outputs = dict(results.select("row_id", "output").iter_rows())
    for n in range(ROWS):
        every = [said(n, vote) for vote in range(5)]
        output = outputs[f"r{n}"]
        assert output["name"] == most_said([one["name"] for one in every])
        assert output["amount"] == most_said([one["amount"] for one in every])
        assert output["lines"][0]["qty"] == most_said([one["lines"][0]["qty"] for one in every])
        assert 3 <= asked[n] <= 5
        assert len(bodies[n]) == 1
    assert told["totals"]["calls"] == sum(asked.values()) < 5 * ROWS
    shares = pl.Struct(
        {"name": pl.Float64, "amount": pl.Float64, "who": pl.Struct({"city": pl.Float64}), "lines": pl.Float64}
    )
    assert results.schema["field_agreement"] == shares
    assert told["field_quality"]["votes"]["votes"] == sum(asked.values())
    for n, share in results.select("row_index", "field_agreement").iter_rows():
        votes = [said(n, vote)["name"] for vote in range(asked[n])]
        assert share["name"] == pytest.approx(votes.count(outputs[f"r{n}"]["name"]) / len(votes))
        assert share["who"]["city"] == 1.0
    assert told["fields"]["name"]["accuracy"] > 0.75


def test_rows_in_doubt_are_to_review_with_their_fields(bench):
    """review.jsonl names each field in doubt with what was said of it; so does the export; another threshold is free."""
    rows(bench, ROWS)
    job(bench, votes={"most": 3, "review_below": 1.0})
    with serving(noisy) as gateway:
        told = voted(bench, gateway)
        calls = len(gateway.asks)
        review = [json.loads(line) for line in (bench.folder / "out/review.jsonl").read_text().splitlines()]
        shares = dict(bench.results().select("row_id", "field_agreement").iter_rows())
        doubtful = {
            row_id: {name for name in ("name", "amount", "lines") if share[name] < 1}
            for row_id, share in shares.items()
        }
        assert {one["row_id"]: {field["field"] for field in one["fields"]} for one in review} == {
            row_id: names for row_id, names in doubtful.items() if names
        }  # fmt: skip
        assert told["field_quality"]["votes"]["to_review"] == len(review) > 3
        first = review[0]
        assert first["text"] == f"Say {first['row_id'][1:]}"
        assert sum(value["votes"] for value in first["fields"][0]["values"]) == 3
        assert [min(f["agreement"] for f in one["fields"]) for one in review] == sorted(
            min(f["agreement"] for f in one["fields"]) for one in review
        )
        exported = bench.run(gateway.url, "export", "out", str(bench.folder / "doubt.jsonl"), "--review")
        assert exported.code == 0, exported.err
        assert len((bench.folder / "doubt.jsonl").read_text().splitlines()) == len(review)
        job(bench, votes={"most": 3, "review_below": 0.0})
        told = voted(bench, gateway)
        assert told["field_quality"]["votes"]["to_review"] == 0
        assert not (bench.folder / "out/review.jsonl").exists()
        assert len(gateway.asks) == calls


def test_votes_that_were_paid_stand(bench):
    """Through a cap, a kill, rows that move and rows that are tried again, no vote is paid twice but those in flight."""
    rows(bench, ROWS)
    keys = {"votes": 5, "limits": {"concurrency": 4}, "params": {"max_output_tokens": 500}}
    answers_at = {"fails": True}

    def script(ask: Ask) -> Reply:
        if number(ask) == 4 and answers_at["fails"]:
            return Reply(status=400, error=("invalid_request", "no", "invalid_request_error"), good=False)
        return noisy(ask)

    job(bench, **keys, max_cost_usd=0.02)
    with serving(script, latency_s=0.02) as gateway:
        capped = voted(bench, gateway, expect=4)
        assert capped["beside"]["calls"] > 0
        assert capped["ledger"]["ok"] > 0
        assert capped["ledger"]["ok"] > 0
        assert money(capped["totals"]["cost_usd"]) + money(capped["beside"]["cost_usd"]) == money(
            gateway.books()["billed_usd"]
        )
        job(bench, **keys)
        before = len(gateway.asks)
        process = bench.start(gateway.url, "run", "job.yaml", "--direct", "-q")
        gateway.wait_for(before + 12)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        gateway.quiet()
        told = voted(bench, gateway, expect=3)
        assert gateway.paid_again(5) <= 4
        votes = dict(bench.results().select("row_id", "votes").iter_rows())
        good = sum(vote["status"] == "ok" for several in votes.values() for vote in several)
        assert sum(gateway.good_by_prompt.values()) - good <= 4
        outputs = dict(bench.results().select("row_id", "output").iter_rows())
        answers_at["fails"] = False
        paid = len(gateway.asks)
        text = (bench.folder / "rows.jsonl").read_text().splitlines(keepends=True)
        (bench.folder / "rows.jsonl").write_text("".join(reversed(text)))
        told = voted(bench, gateway, "--retry-failed")
        assert told["ledger"]["ok"] == ROWS
        assert len(gateway.asks) - paid <= 5
        after = dict(bench.results().select("row_id", "output").iter_rows())
        assert {name: value for name, value in after.items() if name != "r4"} == {
            name: value for name, value in outputs.items() if name != "r4"
        }  # fmt: skip


def test_the_stronger_model_is_asked_where_a_field_is_in_doubt(bench):
    """Its votes are the output of those rows and of no others; equal rows are paid once."""
    rows(bench, ROWS)
    with open(bench.folder / "rows.jsonl", "a") as file:
        file.write(json.dumps({"id": "again", "text": "5", "truth": truth(5)}) + "\n")
    strong: Counter[str] = Counter()

    def script(ask: Ask) -> Reply:
        if ask.model == PRO:
            strong[ask.prompt] += 1
            return Reply(text=json.dumps(truth(number(ask))))
        return noisy(ask)

    job(bench, model=FLASH, votes={"most": 3, "escalate": {"model": PRO, "below": 0.6}}, structured="prompt")
    with serving(script) as gateway:
        told = voted(bench, gateway)
    results = bench.results()
    escalated = {
        row["row_id"] for row in results.iter_rows(named=True) if any(vote["model"] == PRO for vote in row["votes"])
    }
    assert told["field_quality"]["votes"]["escalated"] == len(escalated)
    assert 0 < sum(strong.values()) < ROWS
    for row in results.iter_rows(named=True):
        n = 5 if row["row_id"] == "again" else int(row["row_id"][1:])
        if row["row_id"] in escalated:
            assert row["output"] == truth(n)
        else:
            assert min(row["field_agreement"][name] for name in ("name", "amount", "lines")) >= 0.6
    assert results.filter(row_id="again")["reused_from"][0] == "r5"
    assert results.filter(row_id="again")["cost_usd"][0] == 0


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"schema": None, "gold": None, "label": {"labels": ["a", "b"]}}, "label.votes"),
        ({"schema": None, "gold": None}, "votes needs a schema"),
        ({"params": {"temperature": 0}}, "temperature"),
        ({"tools": [{"name": "find"}]}, "votes and tools"),
        ({"votes": 0}, "votes"),
        ({"votes": True}, "votes"),
        ({"votes": {"most": 3, "escalate": {"model": FLASH}}}, "itself"),
    ],
)
def test_votes_that_cannot_be_are_refused_before_a_call(bench, keys, words):
    """The message names the key and the mend; nothing is sent."""
    rows(bench, 4)
    told = {"model": FLASH, "id": "id", "prompt": "Say {{ text }}", "schema": INVOICE, "votes": 3, **keys}
    bench.job(**{key: value for key, value in told.items() if value is not None})
    with serving(noisy) as gateway:
        ended = bench.run(gateway.url, "run", "job.yaml", "--direct")
        assert ended.code == 2
        assert words in ended.err
        assert not gateway.asks


def test_an_estimate_counts_votes(bench):
    """The ceiling is that of all votes, the guess lies between the fewest and the most, and a note says how many."""
    rows(bench, 8)
    ceilings = []
    for votes in (None, 3):
        job(bench, **({} if votes is None else {"votes": votes}), output=f"out{votes}")
        ended = bench.run("http://127.0.0.1:9", "estimate", "job.yaml", "--json")
        assert ended.code == 0, ended.err
        ceilings.append(ended.manifest)
    one, three = ceilings
    assert three["ceiling_usd"] == pytest.approx(3 * one["ceiling_usd"])
    assert three["cost_usd"]["estimate"] == pytest.approx(2.5 * one["cost_usd"]["estimate"])
    assert any("2 to 3 calls a row" in note for note in three["notes"])


def test_evidence_is_that_of_the_votes_that_said_it(bench):
    """An output that no vote gave has for each value the quote of one that did; each quote stands in the text."""
    bench.rows([{"id": f"r{n}", "text": f"{n} Acme {n} owes {n}.50 to Bob."} for n in range(6)])
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "amount": {"type": "number"}},
        "required": ["name", "amount"],
        "additionalProperties": False,
    }
    bench.job(model=FLASH, id="id", prompt="Say {{ text }}", schema=schema, votes=3, evidence=True)

    def script(ask: Ask) -> Reply:
        n = number(ask)
        right = ({"name": f"Acme {n}", "amount": n + 0.5}, {"name": f"Acme {n}", "amount": f"{n}.50"})
        output, quotes = (dict(one) for one in right)
        if ask.seen == 0:
            output["name"], quotes["name"] = "Bob", "Bob"
        if ask.seen == 1:
            output["amount"], quotes["amount"] = float(n), f"{n}"
        evidence = [{"field": f"/{name}", "quote": quote} for name, quote in quotes.items()]
        return Reply(text=json.dumps({"output": output, "evidence": evidence}))

    with serving(script) as gateway:
        told = voted(bench, gateway)
        before = bench.results()
        lines = (bench.folder / "rows.jsonl").read_text().splitlines(keepends=True)
        (bench.folder / "rows.jsonl").write_text("".join(reversed(lines)))
        calls = len(gateway.asks)
        voted(bench, gateway)
        assert len(gateway.asks) == calls
    assert told["evidence"]["exact"] == told["evidence"]["fields"] == 12
    after = {row["row_id"]: row for row in bench.results().iter_rows(named=True)}
    for row in before.iter_rows(named=True):
        n = row["row_index"]
        assert row["output"] == {"name": f"Acme {n}", "amount": n + 0.5}
        assert {one["field"]: one["quote"] for one in row["evidence"]} == {"/name": f"Acme {n}", "/amount": f"{n}.50"}
        text = f"{n} Acme {n} owes {n}.50 to Bob."
        assert all(text[one["start"] : one["end"]] == one["quote"] for one in row["evidence"])
        assert after[f"r{n}"]["output"] == row["output"]
        assert after[f"r{n}"]["evidence"] == row["evidence"]
