"""`rowmill estimate` from the outside: no call, every kind of row counted, a pilot whose rows are results, looking back."""

from __future__ import annotations

import json
import math
import struct
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from tests.conftest import PERSON, Bench, assert_balanced

NOWHERE = "http://127.0.0.1:9"


def texts(count: int, longest: int = 60) -> list[dict[str, Any]]:
    """Rows sorted by length, as files often are."""
    return [{"id": f"r{n}", "text": f"person {n} " + "word " * (n * longest // count)} for n in range(count)]


def estimate(bench: Bench, *args: str, base_url: str = NOWHERE, code: int = 0, **more: str) -> dict[str, Any]:
    ended = bench.run(base_url, "estimate", "job.yaml", "--json", *args, **more)
    assert ended.code == code, ended.err
    told = json.loads(ended.out, parse_constant=lambda name: pytest.fail(f"{name} in the forecast"))
    assert json.loads((bench.folder / "out/estimate.json").read_text()) == told
    return told


def test_an_estimate_sends_nothing_and_counts_every_kind_of_row(bench):
    """Without a key or a gateway: rows to ask, unreadable, the same as another, and those that cannot be asked."""
    rows = [json.dumps({"id": f"r{n}", "text": f"person {n}"}) for n in range(20)]
    rows += ["no json", json.dumps({"id": "same", "text": "person 3"}), json.dumps({"id": "odd", "name": "no text"})]
    (bench.folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    bench.job(id="id", schema=PERSON, params={"max_output_tokens": 500}, limits={"rpm": 10})
    told = estimate(bench, ROWMILL_API_KEY="")
    assert told["rows"] == {
        "total": 23, "unreadable": 1, "cannot_be_asked": 1, "same_request": 1, "settled": 0, "to_ask": 20
    }  # fmt: skip
    assert told["basis"] == "prior"
    assert told["pace"] == {"seconds": 120, "binds": "rpm"}
    cost = told["cost_usd"]
    assert 0 < cost["low"] < cost["estimate"] <= cost["high"] <= cost["bound_99"] <= told["ceiling_usd"]
    assert any("guess" in note for note in told["notes"])
    assert not (bench.folder / "out/results").exists()
    shown = bench.run(NOWHERE, "estimate", "job.yaml", "-n", "5")
    assert shown.code == 0
    assert "to ask 5" in shown.out
    assert "nan" not in shown.out.lower()


@pytest.mark.parametrize(
    "keys", [{"prompt": "Say {{ txt }}"}, {"keep": ["txt"]}, {"id": "txt"}, {"id": "twice"}, {"keep": ["status"]}]
)
def test_an_input_that_check_refuses_is_refused_in_the_same_words(bench, keys):
    """A column that the file lacks, ids that stand twice, a name of the results' own: exit 2, and no forecast."""
    bench.rows([{"text": f"person {n}", "twice": 1, "status": "new"} for n in range(3)])
    bench.job(**keys)
    checked = bench.run(NOWHERE, "check", "job.yaml")
    told = bench.run(NOWHERE, "estimate", "job.yaml")
    assert (checked.code, told.code, told.err) == (2, 2, checked.err)
    assert told.err
    assert not (bench.folder / "out/estimate.json").exists()


@pytest.mark.parametrize(
    ("rows", "job", "note"),
    [
        ([], {}, "the input is empty"),
        (["no json"], {}, "no row can be asked"),
        ([{"id": "a", "text": "x"}], {"model": "mine", "catalogue": "mine.toml"}, "price of mine is unknown"),
        ([{"id": "a", "text": "x"}], {}, "max_output_tokens is not set"),
    ],
)
def test_what_cannot_be_forecast_is_a_plain_sentence(bench, rows, job, note):
    """An empty input, no row to ask, no price, no maximum: said in words, with nulls and never a NaN."""
    (bench.folder / "rows.jsonl").write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    )
    (bench.folder / "mine.toml").write_text(
        '[models.mine]\nprotocol = "chat-completions"\npath = "/v1/chat/completions"\ncontext_window = 1000\n'
        'max_output_tokens = 100\nnative_schema = false\nversion = "1"\nsource = "mine"\nchecked = 2026-11-21\n'
    )
    bench.job(id="id", **job)
    told = estimate(bench)
    assert any(note in said for said in told["notes"]), told["notes"]
    if "model" in job:
        assert told["cost_usd"] is None
        assert told["input_tokens"] > 0


def test_a_pilot_takes_rows_from_everywhere_keeps_them_and_narrows(bench, sandboxes):
    """Forty random rows of a sorted file are paid for once, stay results, and put the whole bill in the interval."""
    sandbox = sandboxes()
    bench.rows(texts(400))
    bench.job(id="id", schema=PERSON, params={"max_output_tokens": 400})
    told = estimate(bench, "--pilot", "40", base_url=sandbox.base_url)
    assert sandbox.books()["calls"] == 40
    assert (told["basis"], told["sample"]["rows"], told["rows"]["to_ask"]) == ("random sample", 40, 360)
    spent = Decimal(sandbox.books()["billed_usd"])
    assert told["spent_usd"] == pytest.approx(float(spent))
    assert told["pilot"]["rows"] == 40
    assert told["pilot"]["cost_usd"] == pytest.approx(float(spent))
    before, now = told["pilot"]["before"], told["cost_usd"]
    assert (now["high"] - now["low"]) / now["estimate"] < (before["high"] - before["low"]) / before["estimate"] / 1.5
    places = bench.results()["row_index"].to_list()
    assert min(places) < 100 < 300 < max(places)
    again = estimate(bench)
    assert sandbox.books()["calls"] == 40, "the sample is known again without a call"
    assert again["cost_usd"] == now

    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
    assert ended.code == 0, ended.err
    results = bench.results()
    assert_balanced(ended.manifest, results)
    assert results["row_index"].to_list() == list(range(400))
    assert results["cost_usd"].sum() == Decimal(sandbox.books()["billed_usd"])
    back = ended.manifest["forecast"]
    assert back["within"]
    assert back["actual_usd"] == pytest.approx(float(results["cost_usd"].sum() - spent))
    assert sum(tenth["actual_usd"] for tenth in back["deciles"]) == pytest.approx(float(results["cost_usd"].sum()))
    assert [tenth["rows"] for tenth in back["deciles"]] == [40] * 10
    assert "forecast of the 360 rows" in bench.run(sandbox.base_url, "status", "out").out

    done = estimate(bench)
    assert done["rows"]["to_ask"] == 0
    assert any("settled already" in note for note in done["notes"])


def test_a_file_that_grew_is_forecast_from_its_new_rows(bench, sandboxes):
    """After 900 settled rows, 100 are appended whose answers are three times as long: without a pilot the interval is
    a guess's and says so; a pilot of 60 asks 60 of the new rows, and the bill of the rest lies in its interval.
    """
    sandbox = sandboxes()
    rows = texts(300)
    bench.rows(rows)
    bench.job(id="id", schema=PERSON, params={"max_output_tokens": 400})
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct").code == 0
    bench.rows([*rows, *({"id": f"n{n}", "text": f"another kind {n} " + "word " * 400} for n in range(100))])
    blind = estimate(bench)
    assert blind["basis"] == "earlier results"
    assert blind["cost_usd"]["high"] > 2 * blind["cost_usd"]["estimate"]
    assert any("need not be like the rest" in note for note in blind["notes"])
    calls = sandbox.books()["calls"]
    told = estimate(bench, "--pilot", "60", base_url=sandbox.base_url)
    assert sandbox.books()["calls"] - calls == 60
    assert (told["basis"], told["sample"]["rows"], told["rows"]["to_ask"]) == ("random sample", 60, 40)
    paid = Decimal(sandbox.books()["billed_usd"])
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct").code == 0
    rest = float(Decimal(sandbox.books()["billed_usd"]) - paid)
    assert told["cost_usd"]["low"] <= rest <= told["cost_usd"]["high"]


def test_a_small_rest_is_asked_whole(bench, sandboxes):
    """A pilot of more rows than are left asks those that are left, and there is nothing to forecast any more."""
    sandbox = sandboxes()
    bench.rows(texts(30))
    bench.job(id="id", schema=PERSON)
    told = estimate(bench, "--pilot", "auto", base_url=sandbox.base_url)
    assert (sandbox.books()["calls"], told["rows"]["to_ask"], told["pilot"]["rows"]) == (30, 0, 30)
    assert told["pilot"]["stopped"] == "no row is left to ask"


def test_a_run_that_stopped_in_a_sorted_file_is_forecast_from_the_pilot_s_rows_beyond(bench, sandboxes):
    """After a pilot and a run of the first half, the pilot's rows of the second half are what the rest is told from."""
    sandbox = sandboxes()
    bench.rows(texts(400, longest=600))
    bench.job(id="id", schema=PERSON)
    estimate(bench, "--pilot", "100", base_url=sandbox.base_url)
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-n", "200").code == 0
    told = estimate(bench)
    assert told["basis"] == "random sample"
    assert 30 < told["sample"]["rows"] < 90, "those of the first half tell nothing of the second"
    paid = Decimal(sandbox.books()["billed_usd"])
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct").code == 0
    rest = float(Decimal(sandbox.books()["billed_usd"]) - paid)
    assert told["cost_usd"]["low"] <= rest <= told["cost_usd"]["high"]


@pytest.mark.nightly
def test_nights_that_were_alike_narrow_the_forecast_of_the_next(bench, sandboxes):
    """Of five earlier runs the forecast is as wide as they differed from each other, and says so."""
    sandbox = sandboxes()
    bench.job(id="id", schema=PERSON)
    for night in range(1, 6):
        bench.rows([{"id": f"r{n}", "text": f"person {n} of town {n % 7}"} for n in range(40 * night)])
        assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct").code == 0
    bench.rows([{"id": f"r{n}", "text": f"person {n} of town {n % 7}"} for n in range(240)])
    told = estimate(bench)
    assert told["basis"] == "earlier results"
    assert any("5 earlier runs" in note for note in told["notes"]), told["notes"]
    assert told["cost_usd"]["high"] < 2 * told["cost_usd"]["estimate"]


def test_a_pilot_finds_its_own_size(bench, sandboxes):
    """`--pilot auto` pays until the interval is within 5 % or the next step passes its share, and says which it was."""
    sandbox = sandboxes()
    bench.rows(texts(3_000))
    bench.job(id="id", schema=PERSON, params={"max_output_tokens": 400})
    told = estimate(bench, "--pilot", "auto", base_url=sandbox.base_url)
    share = told["spent_usd"] / (told["spent_usd"] + told["cost_usd"]["estimate"])
    assert 0.01 < share <= 0.06
    assert "--pilot-share" in told["pilot"]["stopped"]
    assert told["pilot"]["rows_for_5_percent"] > told["pilot"]["rows"]
    assert told["pilot"]["usd_for_5_percent"] > 0
    assert sandbox.books()["calls"] == told["pilot"]["rows"] == told["sample"]["rows"]
    further = estimate(bench, "--pilot", "auto", "--pilot-share", "0.5", base_url=sandbox.base_url)
    assert sandbox.books()["calls"] == told["pilot"]["rows"] + further["pilot"]["rows"] == further["sample"]["rows"]
    near = (further["cost_usd"]["high"] - further["cost_usd"]["low"]) / 2 / further["cost_usd"]["estimate"]
    assert near <= 0.05 or "share" in further["pilot"]["stopped"], further["pilot"]


def test_rows_of_a_stopped_run_are_learned_from_and_said_to_be_no_sample(bench, sandboxes):
    """Without a pilot, what is settled already is better than a guess, and is not passed off as random."""
    sandbox = sandboxes()
    bench.rows([*texts(200), {"id": "again", "text": texts(200)[0]["text"]}])
    bench.job(id="id", schema=PERSON)
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-n", "50").code == 0
    told = estimate(bench)
    # The row that asks what a settled one asked costs nothing either.
    assert (told["basis"], told["rows"]["settled"], told["rows"]["to_ask"]) == ("earlier results", 51, 150)
    assert any("at random" in note for note in told["notes"])


def test_what_was_learned_outlives_fresh(bench, sandboxes):
    """The input-token ratio of a model stays beside the output when the results are moved aside."""
    sandbox = sandboxes()
    bench.rows(texts(120))
    bench.job(id="id", schema=PERSON)
    first = estimate(bench)["input_tokens"]
    learned = estimate(bench, "--pilot", "40", base_url=sandbox.base_url)["sample"]["input_ratio"]
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--fresh", "-n", "5").code == 0
    (bench.folder / "out/run.json").unlink()
    for part in (bench.folder / "out/results").iterdir():
        part.unlink()
    told = estimate(bench)
    assert told["basis"] == "prior"
    assert told["input_tokens"] == pytest.approx(first * learned)


def test_rows_and_models_can_be_told_apart(bench):
    """--rows writes each row's tokens and cost, which sum to the forecast; --compare prices the other models."""
    bench.rows(texts(300))
    bench.job(id="id", schema=PERSON, params={"max_output_tokens": 400})
    told = estimate(bench, "--rows", "--compare")
    rows = pl.read_parquet(bench.folder / "out/estimate.parquet")
    assert rows.columns == ["row_id", "row_index", "input_tokens", "expected_cost_usd"]
    assert rows["row_index"].to_list() == list(range(300))
    assert math.isclose(rows["input_tokens"].sum(), told["input_tokens"], rel_tol=1e-9)
    assert math.isclose(rows["expected_cost_usd"].sum(), told["cost_usd"]["estimate"], rel_tol=1e-6)
    flash = next(other for other in told["compared"] if other["model"] == "gemini-3-flash")
    assert 0 < flash["estimate_usd"] < told["cost_usd"]["estimate"]


def test_a_run_can_be_made_to_wait_for_a_forecast_that_fits(bench, sandboxes):
    """--require-forecast-under sends nothing and ends with exit 4 where the bound passes it; else the run goes on."""
    sandbox = sandboxes()
    bench.rows(texts(100))
    bench.job(id="id", schema=PERSON, params={"max_output_tokens": 400})
    refused = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--require-forecast-under", "0.0001")
    assert refused.code == 4
    assert "--require-forecast-under" in refused.err
    assert "Traceback" not in refused.err
    no_sum = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--require-forecast-under", "nan")
    assert no_sum.code == 2
    assert "sum from 0" in no_sum.err
    assert sandbox.books()["calls"] == 0
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--require-forecast-under", "100").code == 0
    assert sandbox.books()["calls"] == 100


@pytest.mark.parametrize("inside", [False, True])
def test_thoughts_beside_the_limit_are_within_the_bound(bench, sandboxes, inside):
    """Before anything was measured, the bound holds whether or not thoughts count towards the limit of an answer."""
    sandbox = sandboxes(thoughts_count_as_output=inside)
    bench.rows([{"text": f"person {n}"} for n in range(30)])
    bench.job(model="gemini-3-flash", schema=PERSON, params={"max_output_tokens": 256})
    told = estimate(bench)["cost_usd"]
    assert told["low"] < told["estimate"] < told["high"] < told["bound_99"]
    bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-q")
    assert told["low"] < float(bench.manifest()["totals"]["cost_usd"]) < told["bound_99"]


@pytest.mark.parametrize("cap", ["max_cost_usd", "max_run_cost_usd"])
def test_a_cap_tells_what_it_would_leave_undone_and_is_what_cannot_be_exceeded(bench, cap):
    """With a cap below the estimate the rows beyond it are counted; the ceiling is the least of the cap and of what all
    calls may come to, and says which.
    """
    bench.rows(texts(100))
    bench.job(id="id", schema=PERSON, params={"max_output_tokens": 400})
    whole = estimate(bench)
    assert whole["ceiling_binds"] == "every call at its worst"
    low = f"{whole['cost_usd']['estimate'] / 4:.6f}"
    bench.job(id="id", schema=PERSON, params={"max_output_tokens": 400}, **{cap: low})
    told = estimate(bench)
    assert 70 <= told["rows_beyond_cap"] <= 80
    assert (told["ceiling_usd"], told["ceiling_binds"]) == (float(low), cap)
    shown = bench.run(NOWHERE, "estimate", "job.yaml")
    assert f"(what {cap} leaves)" in shown.out
    bench.job(id="id", schema=PERSON, params={"max_output_tokens": 400}, **{cap: 1e6})
    assert estimate(bench)["ceiling_usd"] == pytest.approx(whole["ceiling_usd"])


def test_a_pilot_that_meets_a_limit_of_money_says_so(bench, sandboxes):
    """A spend limit during the pilot ends it with exit 4; what was paid for is kept."""
    sandbox = sandboxes(spend_limit_usd="0.01")
    bench.rows(texts(200))
    bench.job(id="id", schema=PERSON, params={"max_output_tokens": 400})
    ended = bench.run(sandbox.base_url, "estimate", "job.yaml", "--pilot", "100")
    assert ended.code == 4, ended.err
    assert "the pilot stopped" in ended.err
    assert bench.manifest()["termination"]["kind"] == "spend_limit"
    assert bench.results()["cost_usd"].sum() == Decimal(sandbox.books()["billed_usd"])


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--pilot", "0"], "neither auto nor a number"),
        (["--pilot", "many"], "neither auto nor a number"),
        (["--tokenizer", "missing.json"], "tokenizer"),
        (["-i", "missing.jsonl"], "no such file"),
        (["--pilot", "5", "-m", "no-model"], "no-model"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(bench, args, told):
    """Each mistake ends with exit 2, one line and no traceback."""
    bench.rows(texts(5))
    bench.job(id="id")
    ended = bench.run(NOWHERE, "estimate", "job.yaml", *args)
    assert ended.code == 2
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_media_are_told_by_their_size_with_an_interval_that_holds(bench, sandboxes):
    """Images and a document before any call: within 2 % where the gateway bills by Google's rule for Gemini 3, within the
    interval where it bills by its older one; what an address holds is said not to be known.
    """
    pages = b"%PDF-1.4\n1 0 obj << /Type /Pages /Count 9 >> endobj"
    (bench.folder / "nine.pdf").write_bytes(pages)
    for name, width, height in (("small", 64, 64), ("wide", 2_400, 900)):
        head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)
        (bench.folder / f"{name}.png").write_bytes(head + bytes(9))
    bench.rows(
        [{"id": f"r{n}", "text": f"{n}", "file": ("nine.pdf", "small.png", "wide.png")[n % 3]} for n in range(12)]
    )
    job = {"id": "id", "attachments": ["file"], "media_root": ".", "params": {"max_output_tokens": 400}}
    bench.job(**job)
    told = estimate(bench)
    media = told["media_tokens"]
    assert (told["media"], media["estimate"], media["unmeasured"]) == (12, 4 * (9 * 560 + 2 * 1_120), 0)
    assert any("which of its rules this gateway bills by is not documented" in note for note in told["notes"])
    for rule in ("gemini-3", "gemini-2"):
        sandbox = sandboxes(media_rule=rule)
        assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-o", rule).code == 0
        billed = bench.manifest(rule)["totals"]["input_tokens"]
        text = told["input_tokens"] - media["estimate"]
        assert media["low"] <= billed - text <= 1.01 * media["high"]
        if rule == "gemini-3":
            assert told["input_tokens"] == pytest.approx(billed, rel=0.02)
    bench.rows([{"id": "a", "text": "x", "file": "https://example.org/report.pdf"}])
    bench.job(**job)
    told = estimate(bench)
    assert told["media_tokens"]["unmeasured"] == 1
    assert told["cost_usd"]["high"] > 100 * told["cost_usd"]["low"]
    assert any("do not tell how large they are" in note for note in told["notes"])
