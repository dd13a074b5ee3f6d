"""Rows that share calls: each has its own outcome and its own exact share of the bill, whatever becomes of the call."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rowmill.schemas.pack import read_pack
from tests.conftest import PERSON, Bench, Ended, assert_balanced, money
from tests.gateways import PRICES, Ask, Gateway, Reply, assert_books, serving

PRO, FLASH = "gemini-3-pro", "gemini-3-flash"
LIMIT = 60
PERSON_IN = re.compile(r"person \d{4}")
Entries = list[dict[str, Any]]


@dataclass
class Clerk:
    """Answers every row by its own text, in a call of its own or with others. `entries` may spoil what is said of
    several, `whole` a whole call; `given` counts the right answers that each person was given. One that `is_dear` bills
    calls for several at their worst case.
    """

    entries: Callable[[Entries, dict[str, str]], Entries] = lambda entries, _: entries
    whole: Callable[[Ask, list[str]], Reply | None] = lambda ask, people: None
    given: Counter[str] = field(default_factory=Counter)
    sizes: list[int] = field(default_factory=list)
    is_dear: bool = False

    def __call__(self, ask: Ask) -> Reply:
        pack = read_pack(ask.prompt)
        people = PERSON_IN.findall(ask.prompt) if pack is None else [PERSON_IN.findall(own)[0] for _, own in pack.rows]
        self.sizes.append(len(people))
        if (reply := self.whole(ask, people)) is not None:
            return reply
        if pack is None:
            self.given[people[0]] += 1
            return Reply(text=json.dumps(right(people[0])), input=211, output=23, thinking=19)
        told: Entries = [
            {"row": token, "answer": right(one)} for (token, _), one in zip(pack.rows, people, strict=True)
        ]
        of = dict(zip([token for token, _ in pack.rows], people, strict=True))
        said = self.entries(told, of)
        named = Counter(entry["row"] for entry in said)
        self.given.update(
            of[entry["row"]]
            for entry in said
            if entry["answer"] == right(of[entry["row"]]) and named[entry["row"]] == 1
        )
        if self.is_dear:
            sent = len(json.dumps(ask.body, ensure_ascii=False, separators=(",", ":")).encode())
            return Reply(text=json.dumps({"rows": said}), input=sent, output=LIMIT * len(people), thinking=0)
        return Reply(
            text=json.dumps({"rows": said}), input=401 + 7 * len(people), output=13 * len(people), thinking=101
        )


def right(person: str) -> dict[str, Any]:
    return {"name": person, "n": int(person[-4:])}


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "text": f"person {n:04d}{' x' * (n % 7)}"} for n in range(first, first + count)]


def job(bench: Bench, **keys: Any) -> None:
    told = {
        "id": "id", "keep": ["text"], "schema": PERSON, "prompt": "Who is it?\n{{ text }}", "rows_per_call": 10,
        "params": {"max_output_tokens": LIMIT}, "retries": {"outage_s": 5, "transport": 1},
    }  # fmt: skip
    bench.job(**{**told, **keys})


def direct(bench: Bench, gateway: Gateway, *args: str, command: str = "run", code: int = 0) -> Ended:
    ended = bench.run(gateway.url, command, "job.yaml", "--direct", "--json", *args)
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    return ended


def assert_right(bench: Bench) -> None:
    """Every row that is ok holds the answer to its own text."""
    for row in bench.results().iter_rows(named=True):
        if row["status"] == "ok":
            assert row["output"] == right(PERSON_IN.findall(row["text"])[0])


@pytest.mark.parametrize(("model", "stream", "structured"), [
    (PRO, False, "auto"), (PRO, True, "prompt"), (FLASH, False, "auto"), (FLASH, True, "native"),
])  # fmt: skip
def test_rows_share_calls_and_their_bills(bench: Bench, model: str, stream: bool, structured: str) -> None:
    """Three calls answer 25 rows, on both protocols; the shares add up to the bill, and each row pays for its own."""
    bench.rows(rows(25))
    job(bench, model=model, structured=structured, params={"max_output_tokens": LIMIT, "stream": stream})
    with serving(clerk := Clerk()) as gateway:
        direct(bench, gateway)
        told = assert_books(bench, gateway, exact=True)
    results = bench.results()
    assert_balanced(told, results)
    assert_right(bench)
    assert (sorted(clerk.sizes), told["totals"]["calls"]) == ([5, 10, 10], 3)
    assert set(results["attempts"]) == {1}
    assert results["wasted_cost_usd"].sum() == 0
    assert results["cost_usd"].min() > 0
    # Of one call the longer text pays more.
    first = results.filter(results["started_at"] == results["started_at"][0]).sort("text")
    longest = first.sort(first["text"].str.len_chars())["input_tokens"].to_list()
    assert longest == sorted(longest)
    assert set(clerk.given.values()) == {1}


def test_a_row_is_the_same_request_whoever_travels_beside_it(bench: Bench) -> None:
    """Rows in another order, with others between them, have the keys they had, and are not asked again."""
    bench.rows(rows(20))
    job(bench)
    with serving(clerk := Clerk()) as gateway:
        direct(bench, gateway)
        before = dict(bench.results()["row_id", "request_key"].iter_rows())
        bench.rows([*rows(3, 40), *reversed(rows(20)), *rows(4, 50)])
        direct(bench, gateway)
        assert_books(bench, gateway, exact=True)
    after = dict(bench.results()["row_id", "request_key"].iter_rows())
    assert {row: after[row] for row in before} == before
    # Rows beyond those of a part that stands make a shard of their own, and a call is of one shard.
    assert clerk.sizes[:2] == [10, 10]
    assert sum(clerk.sizes[2:]) == 7
    assert len(clerk.sizes) <= 4
    assert_right(bench)


def test_equal_rows_are_paid_once(bench: Bench) -> None:
    """Rows with the same request share its answer, and cost nothing."""
    bench.rows([{**row, "id": f"{row['id']}-{n}"} for n in range(3) for row in rows(10)])
    job(bench)
    with serving(clerk := Clerk()) as gateway:
        direct(bench, gateway)
        told = assert_books(bench, gateway, exact=True)
    assert clerk.sizes == [10]
    assert told["totals"]["rows_reused"] == 20


def spoiled(entries: Entries, people: dict[str, str]) -> Entries:
    """Of ten: the third is missing, the fifth stands twice, the seventh and eighth change places, the tenth is wrong."""
    third, fifth, tenth = entries[2], entries[4], {**entries[9], "answer": {"name": 7}}
    assert third
    return [*entries[:2], entries[3], fifth, fifth, entries[5], entries[7], entries[6], entries[8], tenth]


def test_a_row_whose_part_is_wrong_is_asked_again_alone(bench: Bench) -> None:
    """Missing, doubled, moved and invalid entries cost their own rows one more call each; the others stand."""
    bench.rows(rows(10))
    job(bench)
    with serving(clerk := Clerk(entries=spoiled)) as gateway:
        direct(bench, gateway)
        told = assert_books(bench, gateway, exact=True)
    assert clerk.sizes == [10, 1, 1, 1, 1, 1]
    assert set(clerk.given.values()) <= {1, 2}
    assert told["totals"]["retries"] == {"misplaced_entry": 3, "missing_entry": 1, "schema_violation": 1}
    results = bench.results()
    assert results["attempts"].to_list() == [1, 1, 2, 1, 2, 1, 2, 2, 1, 2]
    assert [cost > 0 for cost in results["wasted_cost_usd"]] == [count == 2 for count in results["attempts"]]
    assert_right(bench)
    assert gateway.asks[-1].turns in (1, 2)


def test_without_retries_a_wrong_part_is_invalid(bench: Bench) -> None:
    """`retries.content` is what a row may be asked again, also after a call with others."""
    bench.rows(rows(10))
    job(bench, retries={"content": 0})
    with serving(clerk := Clerk(entries=spoiled)) as gateway:
        ended = direct(bench, gateway, code=3)
        assert_books(bench, gateway, exact=True)
        assert ended.manifest["ledger"]["invalid"] == 5
        assert clerk.sizes == [10]
        clerk.entries = lambda entries, _: entries
        direct(bench, gateway, "--retry-failed")
        assert_books(bench, gateway, exact=True)
    assert bench.manifest()["ledger"]["ok"] == 10
    assert set(clerk.given.values()) == {1, 2} or set(clerk.given.values()) == {1}
    assert_right(bench)


POISON = {
    "blocked": (Reply(finish="content_filter", good=False, input=99), "refused", 9),
    "refused": (Reply(status=400, error=("invalid_request", "no", "invalid_request_error")), "failed", 9),
    "upstream": (Reply(status=503, error=("upstream_error", "no", "upstream_error")), "failed", 16),
    "cut": (Reply(text='{"rows": [', finish="length", good=False), "invalid", 11),
    "garbage": (Reply(text="I would rather not.", good=False), "invalid", 11),
}


@pytest.mark.parametrize("kind", POISON)
def test_a_row_that_spoils_its_call_is_found_by_halving(bench: Bench, kind: str) -> None:
    """One row of sixteen makes every call fail that it is in: it alone ends so, and its companions pay a few calls."""
    reply, status, most = POISON[kind]
    bench.rows(rows(16))
    job(bench, rows_per_call=16)
    with serving(clerk := Clerk(whole=lambda _, people: reply if "person 0011" in people else None)) as gateway:
        direct(bench, gateway, code=3)
        assert_books(bench, gateway)
    results = bench.results()
    assert results.filter(results["status"] != "ok")["row_id", "status"].rows() == [("r11", status)]
    assert len(gateway.asks) <= most
    assert set(clerk.given.values()) == {1}
    assert_right(bench)


def test_a_kill_costs_the_calls_in_flight_once(bench: Bench) -> None:
    """After kill -9 two packs in flight may be paid, each at its worst case once, and no row is lost or doubled."""
    bench.rows(rows(60))
    job(bench, limits={"concurrency": 2})
    with serving(clerk := Clerk()) as gateway:
        clerk.whole = lambda ask, people: None if len(gateway.asks) < 2 else Reply(delay_s=5, text="late", good=False)
        process = bench.start(gateway.url, "run", "job.yaml", "--direct", "-q")
        gateway.wait_for(4)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        gateway.quiet()
        told = assert_books(bench, gateway)
        assert told["ledger"]["ok"] == 20
        bounds = sum(money(told[part]["unknown_cost_bound_usd"]) for part in ("totals", "beside"))
        most_each = Decimal(str(float(PRICES[PRO][1]))) * 10 * LIMIT / 10**6 + Decimal("0.80") * 4_000 / 10**6
        assert 0 < bounds <= 2 * most_each
        clerk.whole = lambda ask, people: None
        direct(bench, gateway)
        assert_books(bench, gateway)
    assert set(clerk.given.values()) == {1}
    assert bench.manifest()["ledger"]["ok"] == 60
    assert_right(bench)


@pytest.mark.parametrize("keys", [{"max_cost_usd": 0.012}, {"budget": {"name": "team", "usd_per_day": 0.012}}])
def test_where_money_ends_the_last_calls_are_smaller(bench: Bench, keys: dict[str, Any]) -> None:
    """Money that does not cover ten rows' worst case still answers fewer; billed as high as can be, the cap holds."""
    bench.rows(rows(60))
    job(bench, **keys)
    with serving(clerk := Clerk(is_dear=True)) as gateway:
        direct(bench, gateway, code=4)
        told = assert_books(bench, gateway, cap="0.012", exact=True)
    assert told["ledger"]["ok"] > 10
    assert clerk.sizes[0] == 10
    assert {size for size in clerk.sizes if size < 10}
    assert_right(bench)


def test_votes_share_calls_too(bench: Bench) -> None:
    """Each round of votes is asked in packs; a row has the votes it would have had, and the books agree."""
    bench.rows(rows(24))
    asked: list[int] = []

    def vote(ask: Ask) -> Reply:
        pack = read_pack(ask.prompt)
        asked.append(len(pack.rows) if pack else 1)
        if pack is None:
            return Reply(text='{"label": "even"}', input=90)
        labels = [{"row": token, "answer": {"label": ("even", "odd")[int(own[7:11]) % 2]}} for token, own in pack.rows]
        return Reply(text=json.dumps({"rows": labels}), input=90)

    told = {"labels": ["even", "odd"], "votes": 3}
    bench.job(id="id", keep=["text"], prompt="{{ text }}", label=told, rows_per_call=6)
    with serving(vote) as gateway:
        direct(bench, gateway, command="label")
        assert_books(bench, gateway, exact=True)
    results = bench.results()
    assert [row["label"] for row in results.iter_rows(named=True)] == [("even", "odd")[n % 2] for n in range(24)]
    assert {len(votes) for votes in results["votes"]} == {2}
    assert sum(asked) == 48
    assert len(asked) <= 24


@pytest.mark.parametrize("model", [PRO, FLASH])
def test_answers_are_those_of_one_row_a_call_and_the_forecast_knows_the_price(bench, sandboxes, model: str) -> None:
    """Where company changes no answer, outputs are equal; input tokens fall as the dry run says, and no bill passes its
    ceiling.
    """
    bench.rows([{"id": f"r{n}", "text": f"Person number {n} called Name{n} of town {n % 9}"} for n in range(60)])
    forecasts, bills = [], []
    for count in (1, 10):
        sandbox = sandboxes()
        task = "Read the following line with care. Tell who it speaks of and nothing else, in the form that is asked."
        keys = {"structured": "prompt", "rows_per_call": count, "output": f"out{count}"}
        job(bench, model=model, prompt=f"{task}\n{{{{ text }}}}", **keys)
        forecasts.append(bench.run(sandbox.base_url, "estimate", "job.yaml", "--json").manifest)
        ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
        assert ended.code == 0, ended.err
        bills.append(ended.manifest["totals"])
    assert bench.results("out1")["output"].equals(bench.results("out10")["output"])
    assert (bills[0]["calls"], bills[1]["calls"]) == (60, 6)
    told = forecasts[1]["input_tokens"] / forecasts[0]["input_tokens"]
    seen = bills[1]["input_tokens"] / bills[0]["input_tokens"]
    assert seen < 0.9
    # The sandbox counts four characters as a token, also of the names that tell rows apart.
    assert 0.8 < told / seen < 1.5
    assert float(bills[1]["cost_usd"]) < forecasts[1]["ceiling_usd"]


def test_quotes_are_asked_of_each_row_of_a_call(bench: Bench) -> None:
    """Evidence comes for each row from its own columns; one without support is asked for it alone, and keeps its answer."""
    bench.rows(rows(10))
    job(bench, evidence=["name"])

    def quoted(ask: Ask) -> Reply:
        pack = read_pack(ask.prompt)
        people = PERSON_IN.findall(ask.prompt) if pack is None else [PERSON_IN.findall(own)[0] for _, own in pack.rows]
        answers = [
            {"output": right(one), "evidence": [{"field": "/name", "quote": "elsewhere" if one[-1] == "3" else one}]}
            for one in people
        ]
        if pack is None:
            return Reply(text=json.dumps(answers[0]))
        entries = [{"row": token, "answer": one} for (token, _), one in zip(pack.rows, answers, strict=True)]
        return Reply(text=json.dumps({"rows": entries}), thinking=20)

    with serving(quoted) as gateway:
        direct(bench, gateway)
        told = assert_books(bench, gateway, exact=True)
    assert told["totals"]["retries"] == {"unsupported_field": 3}
    assert len(gateway.asks) == 3
    assert_right(bench)
    for row in bench.results().iter_rows(named=True):
        match = "none" if row["row_id"] == "r3" else "exact"
        assert [(one["field"], one["match"]) for one in row["evidence"]] == [("/name", match)]


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"attachments": ["text"]}, "attachments"),
        ({"tools": [{"name": "look"}]}, "tools"),
        ({"params": {"search": True}}, "search"),
        ({"prompt": None}, "their own requests"),
        ({"params": {"extra": {"n": 2}}}, "params.extra.n"),
        ({"rows_per_call": 0}, "rows_per_call"),
        ({"rows_per_call": 101}, "rows_per_call"),
    ],
)
def test_what_cannot_share_a_call_is_refused(tmp_path: Path, keys: dict[str, Any], named: str) -> None:
    """Media, functions, searches and rows that bring their own request are refused before a call, with the mend."""
    from rowmill.schemas.errors import JobError
    from rowmill.tasks.job.job_file import load_job

    bench = Bench(tmp_path)
    bench.rows(rows(1))
    path = bench.job(**{"rows_per_call": 2, **keys})
    with pytest.raises(JobError) as error:
        load_job(path)
    assert named in str(error.value)
    assert "rows_per_call" in str(error.value)
