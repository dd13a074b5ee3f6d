"""Fields with evidence through real runs: what is asked again, what stands, what it costs, and that it stays."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

import rowmill
from rowmill.flows.orchestration.run_report import write_report
from rowmill.schemas.pack import read_pack
from rowmill.tasks.output.evidence_marks import marked
from tests.acceptance.browser import Page
from tests.acceptance.test_run import MODELS, direct
from tests.acceptance.test_view import CHROMIUM, HOSTILE, assert_harmless, browse, get, rows, texts, viewing
from tests.conftest import KEY, assert_balanced
from tests.gateways import Ask, Reply

SCHEMA = {
    "type": "object", "additionalProperties": False, "required": ["who"],
    "properties": {
        "who": {"type": "string"}, "total": {"type": ["number", "null"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
    },
    "$defs": {"line": {"type": "object", "properties": {"name": {"type": "string"}, "qty": {"type": "integer"}}}},
}  # fmt: skip
ASKED = {"id": "id", "schema": SCHEMA, "evidence": True, "prompt": "Read: {{ body }}"}
FIELDS = ["field", "quote", "column", "start", "end", "match"]
BODY = "Row {n}: Ada Lovelace\nbuys 2 cogs and 2 gears for 1.234,5{n} EUR. {how}"


def bodies(*how: str) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "body": BODY.format(n=n, how=one), "note": f"n{n}"} for n, one in enumerate(how)]


def answered(ask: Ask) -> Reply:
    """What the row's own text says of each attempt: r right, i invented, w worse, n no quotes, b breaks the schema."""
    found = re.search(r"Row (\d+):.*?\[(\w*)\]", ask.prompt, re.DOTALL)
    assert found is not None, ask.prompt
    number, plan = int(found[1]), found[2]
    how = plan[min(ask.seen, len(plan) - 1)]
    output: Any = {
        "who": "Ada Lovelace", "total": 1234.5 + number / 100,
        "lines": [{"name": "cogs", "qty": 2}, {"name": "gears", "qty": 2}],
    }  # fmt: skip
    quotes = {
        "/who": "Ada Lovelace", "/total": f"1.234,5{number} EUR", "/lines/0/name": "cogs", "/lines/0/qty": "2",
        "/lines/1/name": "gears", "/lines/1/qty": "2",
    }  # fmt: skip
    if how in "iw":
        quotes["/who"] = "Ada King of Lovelace"
    if how == "w":
        quotes["/total"] = "1.234 EUR"
    if how == "b":
        output = {"who": 5}
    evidence = [{"field": name, "quote": quote} for name, quote in quotes.items()] if how != "n" else []
    return Reply(
        text=json.dumps({"output": output, "evidence": evidence}), good=how == "r", output=21 + min(ask.seen, 2)
    )


def evidence(results: pl.DataFrame, row: int) -> dict[str, tuple[Any, ...]]:
    return {one["field"]: tuple(one[name] for name in FIELDS[1:]) for one in results["evidence"][row]}


def assert_spans(results: pl.DataFrame, rows: list[dict[str, Any]], manifest: dict[str, Any]) -> None:
    """Every span is its quote, every pointer leads to a value, and the manifest counts what the rows tell."""
    counts = {"fields": 0, "exact": 0, "normalized": 0, "none": 0}
    for told, row in zip(results.iter_rows(named=True), rows, strict=True):
        assert (told["evidence"] is None) == (told["output"] is None)
        assert len(told["value_in_quote"] or []) == len(told["evidence"] or [])
        for one in told["evidence"] or []:
            assert list(one) == FIELDS
            counts["fields"] += 1
            counts[one["match"]] += 1
            value = told["output"]
            for step in one["field"].split("/")[1:]:
                value = value[int(step)] if isinstance(value, list) else value[step]
            assert value is not None
            if one["match"] == "none":
                assert one["column"] is one["start"] is one["end"] is None
            else:
                assert row[one["column"]][one["start"] : one["end"]] == one["quote"]
    assert manifest["evidence"] == counts


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("structured", ["native", "prompt"])
def test_each_field_comes_with_its_quote(bench, gateways, model, structured):
    """On both protocols, natively and by prompt: spans, classes and values; what has no support is asked again by name,
    and the best answer stands; every attempt is billed and counted.
    """
    gateway = gateways(answered)
    rows = bodies("[r]", "[ir]", "[i]", "[iw]", "[wi]", "[nr]", "[bi]", "[n]")
    bench.rows(rows)
    bench.job(**ASKED, model=model, structured=structured, keep=["body"])
    ended = direct(bench, gateway.url)
    assert ended.code == 0, ended.err
    results, manifest = bench.results(), ended.manifest
    assert_balanced(manifest, results)
    assert_spans(results, rows, manifest)
    assert results["status"].to_list() == ["ok"] * 8
    assert results["attempts"].to_list() == [1, 2, 3, 3, 3, 2, 3, 3]
    where = BODY.format(n=0, how="").index
    assert evidence(results, 0) == {
        "/who": ("Ada Lovelace", "body", where("Ada"), where("Ada") + 12, "exact"),
        "/total": ("1.234,50 EUR", "body", where("1.234"), where("1.234") + 12, "exact"),
        "/lines/0/name": ("cogs", "body", where("cogs"), where("cogs") + 4, "exact"),
        "/lines/0/qty": ("2", "body", where("2 cogs"), where("2 cogs") + 1, "exact"),
        "/lines/1/name": ("gears", "body", where("gears"), where("gears") + 5, "exact"),
        "/lines/1/qty": ("2", "body", where("2 gears"), where("2 gears") + 1, "exact"),
    }  # fmt: skip
    assert results["value_in_quote"][0].to_list() == [True] * 6
    lacking = [{name for name, told in evidence(results, row).items() if told[-1] == "none"} for row in range(8)]
    assert lacking == [set(), set(), {"/who"}, {"/who"}, {"/who"}, set(), {"/who"}, set(evidence(results, 0))]
    assert evidence(results, 2)["/who"] == ("Ada King of Lovelace", None, None, None, "none")
    assert manifest["totals"]["retries"] == {"schema_violation": 1, "unsupported_field": 16}
    # What stands is the best answer: its own call is what the money bought.
    per_token = {"gemini-3-pro": Decimal("4.80"), "gemini-3-flash": Decimal("1.20")}[model] / 10**6
    bought = results["cost_usd"] - results["wasted_cost_usd"]
    first, second = bought[3], bought[4]
    assert second - first == per_token
    assert bought[0] == bought[3]
    asked_again = [ask for ask in gateway.asks if ask.turns > 1]
    assert all("/who" in ask.request or "/lines" in ask.request for ask in asked_again)
    assert any("'Ada King of Lovelace' does not stand in the text" in ask.request for ask in asked_again)
    calls = len(gateway.asks)
    assert direct(bench, gateway.url).code == 0
    assert len(gateway.asks) == calls


def test_a_required_quote_that_stands_nowhere_makes_the_row_invalid(bench, gateways):
    """Under require_evidence such a row is invalid once its re-asks are spent, its fields named; --retry-failed asks it
    again, and without re-asks the first answer decides.
    """
    gateway = gateways(answered)
    rows = bodies("[r]", "[iir]", "[i]", "[n]")
    bench.rows(rows)
    bench.job(**ASKED, require_evidence=True)
    ended = direct(bench, gateway.url)
    assert ended.code == 3, ended.err
    results = bench.results()
    assert_balanced(ended.manifest, results)
    assert_spans(results, rows, ended.manifest)
    assert results["status"].to_list() == ["ok", "ok", "invalid", "invalid"]
    assert results["error_kind"].to_list() == [None, None, "unsupported_field", "unsupported_field"]
    assert results["error_message"][2] == "/who: 'Ada King of Lovelace' does not stand in the text"
    assert "/total: no quote was given" in results["error_message"][3]
    assert json.loads(results["response_text"][2])["output"]["who"] == "Ada Lovelace"
    assert (results["wasted_cost_usd"] == results["cost_usd"]).to_list() == [False, False, True, True]
    calls = len(gateway.asks)
    assert direct(bench, gateway.url, "--retry-failed", "unsupported_field").code == 3
    assert len(gateway.asks) == calls + 6
    bench.job(**ASKED, require_evidence=True, retries={"content": 0}, output="once")
    assert direct(bench, gateway.url).code == 3
    assert bench.results("once")["attempts"].to_list() == [1, 1, 1, 1]


def test_named_fields_alone_are_asked_for_in_the_columns_named(bench, gateways):
    """Pointers into lists; where a quote must stand is the job's to say; what has no evidence needs no quote."""
    gateway = gateways(answered)
    rows = [{**row, "subject": "gears, then cogs"} for row in bodies("[n]", "[r]")]
    bench.rows(rows)
    bench.job(
        **{
            **ASKED,
            "evidence": ["/lines/name", "total"],
            "evidence_columns": ["subject", "body"],
            "retries": {"content": 0},
        }
    )
    assert direct(bench, gateway.url).code == 0
    results = bench.results()
    assert_spans(results, rows, bench.manifest())
    assert list(evidence(results, 1)) == ["/total", "/lines/0/name", "/lines/1/name"]
    assert [told[1] for told in evidence(results, 1).values()] == ["body", "subject", "subject"]
    assert "/total, /lines/*/name" in gateway.asks[0].prompt or "/lines/*/name, /total" in gateway.asks[0].prompt


def test_a_quote_over_a_line_break_within_an_object_has_support(bench, gateways):
    """A column that is an object is JSON text, in which line breaks and quotation marks stand escaped: they are the same
    passage, told as normalized with that text's own span; the view has the same text.
    """
    said = {"output": {"who": "Ada"}, "evidence": [{"field": "/who", "quote": 'Ada,\ncalled "the Countess"'}]}
    gateway = gateways(lambda ask: Reply(text=json.dumps(said)))
    mail = {"body": 'Dear sir,\nAda,\ncalled "the Countess", writes.'}
    bench.rows([{"id": "r0", "mail": mail}])
    bench.job(id="id", schema=SCHEMA, evidence=["who"], prompt="Read: {{ mail.body }}", retries={"content": 0})
    assert direct(bench, gateway.url).code == 0
    quote, column, start, end, match = evidence(bench.results(), 0)["/who"]
    assert (column, match) == ("mail", "normalized")
    assert json.dumps(mail, separators=(",", ":"))[start:end] == quote == 'Ada,\\ncalled \\"the Countess\\"'
    write_report(bench.folder / "out")
    assert '<mark class="normalized" title="/who">' in (bench.folder / "out/report.html").read_text()


def test_rows_whose_prompts_are_equal_have_their_own_evidence(bench, gateways):
    """One call answers all of them; where the quotes stand is looked up in each row's own columns, also when the answer
    comes from before the input was changed, and the kept columns may change without a call.
    """
    gateway = gateways(answered)
    plain = bodies("[r]")[0]
    rows = [
        {**plain, "id": "a"}, {**plain, "id": "b", "body": "  " + plain["body"]},
        {**plain, "id": "c", "body": plain["body"] + "  ", "note": "other"},
    ]  # fmt: skip
    bench.rows(rows)
    keys = {**ASKED, "prompt": "Read: {{ body | trim }}"}
    bench.job(**keys)
    assert direct(bench, gateway.url).code == 0
    assert len(gateway.asks) == 1
    assert_spans(bench.results(), rows, bench.manifest())
    starts = [evidence(bench.results(), row)["/who"][2] for row in range(3)]
    assert starts[1] == starts[0] + 2
    moved = [{**rows[0], "body": "\n\n\n" + plain["body"]}, *rows[1:], {**bodies("[x]", "[r]")[1], "id": "d"}]
    bench.rows(moved)
    bench.job(**keys, keep=["note"])
    assert direct(bench, gateway.url).code == 0
    assert len(gateway.asks) == 2
    results = bench.results()
    assert_spans(results, moved, bench.manifest())
    assert evidence(results, 0)["/who"][2] == starts[0] + 3
    assert results["note"].to_list() == ["n0", "n0", "other", "n1"]


def test_without_money_to_ask_again_the_answer_that_was_paid_for_stands(bench, gateways):
    """A cap that leaves no room for another call ends the run; a valid answer is in the results with what it lacks."""
    gateway = gateways(answered)
    rows = bodies("[ir]", "[r]" + " and so on" * 400)
    bench.rows(rows)
    bench.job(**ASKED, params={"max_output_tokens": 400}, max_cost_usd=0.0043, limits={"concurrency": 1})
    ended = direct(bench, gateway.url)
    assert ended.code == 4, ended.err
    assert len(gateway.asks) == 1
    results = bench.results()
    assert results["status"].to_list() == ["ok"]
    assert evidence(results, 0)["/who"][-1] == "none"
    assert results["wasted_cost_usd"].to_list() == [0]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("plan", "said"), [("[ir]", "'Ada King of Lovelace' does not stand in"), ("[br]", "who")])
def test_a_run_that_goes_on_with_a_row_asks_again_by_name(bench, gateways, model, plan, said):
    """What an answer lacked or broke is told to the model by the next run too: it is not asked the first question again,
    and no attempt is made that the row has had.
    """
    gateway = gateways(answered)
    bench.rows(bodies(plan))
    job = {**ASKED, "model": model, "require_evidence": True, "params": {"max_output_tokens": 400}}
    bench.job(**job, max_cost_usd=0.0035 if model == "gemini-3-pro" else 0.0016)
    assert direct(bench, gateway.url).code == 4
    assert len(gateway.asks) == 1
    bench.job(**job)
    ended = direct(bench, gateway.url)
    assert ended.code == 0, ended.err
    assert [ask.turns for ask in gateway.asks] == [1, 2]
    assert said in gateway.asks[1].request
    results = bench.results()
    assert_balanced(ended.manifest, results)
    assert results["attempts"].to_list() == [2]


def test_the_best_answer_of_an_earlier_run_stands(bench, gateways):
    """A row whose first answer lacks one field, and whose later ones lack more, keeps the first, whichever run paid."""
    gateway = gateways(answered)
    bench.rows(bodies("[iww]"))
    job = {**ASKED, "model": "gemini-3-flash", "params": {"max_output_tokens": 400}, "retries": {"content": 1}}
    bench.job(**job, require_evidence=True, max_cost_usd=0.0016)
    assert direct(bench, gateway.url).code == 4
    bench.job(**job, require_evidence=True)
    ended = direct(bench, gateway.url)
    assert ended.code == 3, ended.err
    assert bench.results()["error_message"].to_list() == ["/who: 'Ada King of Lovelace' does not stand in the text"]
    assert len(gateway.asks) == 2


@pytest.fixture
def seen(bench, gateways) -> Any:
    """An output whose texts are hostile, with quotes of every kind; characters beyond the basic plane stand before them."""
    gateway = gateways(answered)
    said = [{**row, "body": f"😀 {HOSTILE} {row['body']}"} for row in bodies("[r]", "[i]", "[n]")]
    said[0]["body"] = said[0]["body"].replace("Ada Lovelace", "Ada\u00a0 Lovelace")
    bench.rows(said)
    bench.job(**ASKED, retries={"content": 0})
    assert direct(bench, gateway.url).code == 0
    return bench, said


def test_the_report_tells_the_support_of_each_field(seen):
    """Fill and support rates per field, the worst first; values without support by name; quotes marked in the text, which
    stays text.
    """
    bench, _ = seen
    write_report(bench.folder / "out")
    page = (bench.folder / "out/report.html").read_text()
    section = page[page.index('id="evidence"') : page.index('id="fields"')]
    assert "<script" not in page
    assert "<img" not in page
    fields = [html.unescape(one) for one in re.findall(r'<th scope="row">(.*?)</th>', section)]
    assert fields[:2] == ["/who", "/lines/*/name"]
    assert set(fields[:5]) == {"/who", "/total", "/lines/*/name", "/lines/*/qty", "r1"}
    assert "33.3 %" in section
    assert '<td>/who</td><td>Ada Lovelace</td><td><mark class="none">Ada King of Lovelace</mark></td>' in section
    assert '<mark class="normalized" title="/who">Ada\xa0 Lovelace</mark>' in section.replace("&#160;", "\xa0")
    assert '<mark class="exact" title="/total">1.234,50 EUR</mark>' in section
    assert html.escape("<script>") in section
    assert re.search(r"about \d+% of the visible output, \d+ tokens", section)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_a_browser_shows_quotes_in_the_text(seen, tmp_path):
    """In a real browser: each value beside its quote, those without support first, the quotes marked in the row's own
    text; nothing that was said runs; rows that lack support are one click away.
    """
    bench, said = seen
    with viewing(bench.folder / "out") as address:
        told = json.loads(get(address, "/api/rows/r1")[1])
        assert told["sources"] == {"body": said[1]["body"]}
        assert [row["row_id"] for row in rows(address, ("contains", 'evidence:"match":"none"'))["rows"]] == ["r1", "r2"]
        dom, console = browse(f"{address}?row=r1", tmp_path)
        assert_harmless(dom, console)
        assert "without support" in dom
        marks = re.findall(r'<mark class="(\w+)"[^>]*>(.*?)</mark>', dom)
        assert marks[0] == ("none", "Ada King of Lovelace")
        assert ("exact", "1.234,51 EUR") in marks
        assert marks.count(("exact", "2")) == 4
        source = next(text for text in texts(dom, "pre") if text.startswith("😀"))
        assert source == said[1]["body"]
        # The value that wants a look is chosen, and stands in the text though it was not quoted.
        assert '<tr class="chosen" aria-current="true"><td><button type="button" class="pick" data-field="/who">' in dom
        assert ("said chosen", "Ada Lovelace") in re.findall(r'<mark class="([\w ]+)"[^>]*>(.*?)</mark>', dom)
        dom, console = browse(f"{address}?row=r0&field=/total", tmp_path)
        assert_harmless(dom, console)
        assert re.findall(r'<mark class="exact chosen"[^>]*>(.*?)</mark>', dom) == ["1.234,50 EUR"]
        assert ("normalized", "Ada&nbsp; Lovelace") in re.findall(r'<mark class="(\w+)"[^>]*>(.*?)</mark>', dom)
        bench.rows([{**row, "body": "another text"} for row in said])
        dom, console = browse(f"{address}?row=r0", tmp_path)
        assert "has changed since" in dom
        assert_harmless(dom, console)


@pytest.mark.nightly
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_keys_lead_from_each_value_that_wants_a_look_to_the_next(seen, tmp_path):
    """`u` goes through all values without support, over rows, and says where there is none left; `U` goes back, `f` and
    `F` through every value. The address is the place.
    """
    bench, _ = seen
    with viewing(bench.folder / "out") as address, Page(address, tmp_path) as page:
        lacking = [("r1", "/who"), *(("r2", field) for field in page.fields("r2"))]
        dotted = {}
        for place in lacking:
            assert page.press("u") == place
            dotted[place] = page.run(
                "[...document.querySelectorAll('.texts mark.chosen')].map((one) => one.className + ':' + one.textContent)"
            )
        # Where a value stands that was not quoted: as a whole number, and beside the quotes of others.
        assert dotted["r2", "/lines/0/qty"] == ["said chosen:2"] * 3
        assert dotted["r1", "/who"] == ["said chosen:Ada Lovelace"]
        assert page.press("u") == lacking[-1]
        assert "no further value that wants a look" in page.run("document.getElementById('where').textContent")
        assert [page.press("U") for _ in lacking[1:]] == lacking[-2::-1]
        assert page.press("f") == ("r1", "/total")
        assert page.press("F") == ("r1", "/who")
        assert page.press("F")[0] == "r0"
        assert page.run("document.querySelector('.texts mark.chosen').textContent") == "2"


def test_marks_put_a_text_together_again():
    """Pieces are the text, whatever overlaps; nothing is marked in a text that has changed."""
    text = "0123456789"
    entries = [
        {"field": "/a", "column": "t", "start": 1, "end": 5, "quote": "1234", "match": "exact"},
        {"field": "/b", "column": "t", "start": 3, "end": 8, "quote": "34567", "match": "normalized"},
        {"field": "/c", "column": "u", "start": 0, "end": 1, "quote": "9", "match": "exact"},
        {"field": "/d", "column": None, "start": None, "end": None, "quote": None, "match": "none"},
    ]
    pieces = marked(text, entries, "t")
    assert "".join(piece.text for piece in pieces) == text
    assert [(piece.text, piece.match, piece.fields) for piece in pieces if piece.match] == [
        ("12", "exact", ("/a",)), ("34", "normalized", ("/a", "/b")), ("567", "normalized", ("/b",)),
    ]  # fmt: skip
    assert marked("changed", entries, "t") == []
    long = "x" * 5_000 + text + "y" * 9_000
    moved = [{**one, "start": one["start"] + 5_000, "end": one["end"] + 5_000} for one in entries[:2]]
    cut = marked(long, moved, "t")
    assert cut[0].text == cut[-1].text == "…"
    assert len("".join(piece.text for piece in cut)) < 1_000


@pytest.mark.parametrize(("model", "structured"), [("gemini-3-pro", "native"), ("gemini-3-flash", "prompt")])
def test_rows_that_share_a_call_have_their_own_evidence(bench, gateways, model, structured):
    """Each entry has its quotes, looked up in its own row; a row that lacks support is asked again alone, by name, and
    its part of the shared call stands where nothing better comes.
    """
    said = bodies("[r]", "[ir]", "[i]", "[r]", "[n]", "[r]")

    def together(ask: Ask) -> Reply:
        pack = read_pack(ask.prompt)
        if pack is None:
            return answered(dataclasses.replace(ask, seen=ask.seen + 1))
        entries = [
            {"row": token, "answer": json.loads(answered(dataclasses.replace(ask, prompt=own)).text)}
            for token, own in pack.rows
        ]
        return Reply(text=json.dumps({"rows": entries}), output=60)

    gateway = gateways(together)
    bench.rows(said)
    bench.job(**ASKED, model=model, structured=structured, rows_per_call=6, params={"max_output_tokens": 500})
    ended = direct(bench, gateway.url)
    assert ended.code == 0, ended.err
    results = bench.results()
    assert_balanced(ended.manifest, results)
    assert_spans(results, said, ended.manifest)
    assert len(gateway.asks) == 1 + 1 + 2 + 2
    assert gateway.asks[0].prompt.count("Answer in two parts") == 1
    assert results["status"].to_list() == ["ok"] * 6
    assert results["attempts"].to_list() == [1, 2, 3, 1, 3, 1]
    lacking = [{name for name, told in evidence(results, row).items() if told[-1] == "none"} for row in range(6)]
    assert lacking == [set(), set(), {"/who"}, set(), set(evidence(results, 0)), set()]
    assert "'Ada King of Lovelace' does not stand in the text" in gateway.asks[1].request + gateway.asks[2].request
    calls = len(gateway.asks)
    assert direct(bench, gateway.url).code == 0
    assert len(gateway.asks) == calls


REFUSED = {
    "a field that the schema lacks": ({"evidence": ["whom"]}, "whom"), "no schema": ({"schema": None}, "schema"),
    "tools": ({"tools": [{"name": "f"}]}, "tools"), "search": ({"params": {"search": True}}, "search"),
    "labels": ({"label": {"labels": ["a", "b"]}, "schema": None}, "label"),
    "own requests": ({"prompt": None}, "prompt"), "no text": ({"prompt": "Read.", "attachments": ["note"]}, "attachments"),
    "a medium": ({"attachments": ["note"], "evidence_columns": ["note"]}, "attachment"),
    "an unknown column": ({"evidence_columns": ["nobody"]}, "nobody"),
    "columns alone": ({"evidence": False, "evidence_columns": ["body"]}, "evidence"), "a name": ({"evidence": "who"}, "[who]"),
    "no field": ({"evidence": []}, "evidence"), "twice": ({"evidence": ["who", "who"]}, "twice"),
    "gold": ({"gold": "note", "evidence_columns": ["note"]}, "gold"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_had_is_refused_before_a_call(bench, case):
    """`check` and `run` name the key and what to do."""
    keys, word = REFUSED[case]
    bench.rows(bodies("[r]"))
    bench.job(**{key: value for key, value in {**ASKED, **keys}.items() if value is not None})
    if keys.get("prompt", "") is None:
        bench.job(**{**ASKED, "prompt": None})
    for command in ("check", "run"):
        ended = bench.run("http://127.0.0.1:1", command, "job.yaml", *(["--direct"] if command == "run" else []))
        assert ended.code == 2, ended.err
        assert word in ended.err
        assert "Traceback" not in ended.err


def test_the_sandbox_quotes_and_the_answers_are_those_without_evidence(bench, sandboxes, monkeypatch):
    """Results equal those without evidence; quotes typeset differently are found, invented ones are asked again."""
    faults = [
        "",
        " [[fault:quote_reflowed]]",
        " [[fault:quote_requoted]]",
        " [[fault:quote_invented*1]]",
        " [[fault:quote_missing]]",
    ]
    rows = [
        {"id": f"r{n}", "body": f"Ada’s order no. {n + 3}: two brass cogs - and {n} gears{faults[n % 5]}"}
        for n in range(40)
    ]
    monkeypatch.setenv("ROWMILL_API_KEY", KEY)
    for model in MODELS:
        for structured in ("native", "prompt"):
            asked: Any = {"model": model, "id": "id", "schema": SCHEMA, "prompt": "Read this: {{ body }}", "structured": structured,
                          "progress": False, "report": False, "sandbox": True}  # fmt: skip
            out = bench.folder / f"{model}-{structured}"
            plain = rowmill.extract(rows, out / "plain", **asked)
            told = rowmill.extract(rows, out / "told", **asked, evidence=True)
            assert told["output"].equals(plain["output"])
            manifest = json.loads((out / "told/run.json").read_text())
            assert_spans(told, rows, manifest)
            counts = manifest["evidence"]
            assert counts["exact"] > counts["normalized"] > 10
            assert 0 < counts["none"] <= 10
            assert (
                pq.read_schema(next((out / "told/results").glob("*.parquet"))).field("evidence").type.value_type.names
                == FIELDS
            )


def test_the_cost_of_quotes_is_forecast(bench):
    """`estimate` counts the schema and the instruction that are sent and the quotes that come back, and says so."""
    bench.rows(bodies(*["[r]"] * 50))
    told = {}
    for name, keys in {"plain": {"evidence": False}, "named": {"evidence": ["total"]}, "all": {}}.items():
        bench.job(**{**ASKED, **keys, "params": {"thinking": "low"}})
        ended = bench.run("http://127.0.0.1:1", "estimate", "job.yaml", "--json")
        assert ended.code == 0, ended.err
        told[name] = json.loads(ended.out)
    assert told["plain"]["input_tokens"] + 50 * 150 < told["named"]["input_tokens"]
    outputs = [told[name]["output_tokens"] for name in ("plain", "named", "all")]
    assert outputs[0] + 50 * 20 < outputs[1] < outputs[2] - 50 * 100
    assert not any("quotes add" in note for note in told["plain"]["notes"])
    assert any("quotes add about" in note and "per 1,000 rows" in note for note in told["all"]["notes"])


def test_votes_on_fields_with_quotes_end_as_any_run_does(bench, gateways):
    """Named evidence and votes go together to the end: the sheet for review shows the row's own text alone."""

    def divided(ask: Ask) -> Reply:
        output = {"who": f"Ada {ask.seen}"}
        return Reply(text=json.dumps({"output": output, "evidence": [{"field": "/who", "quote": "Ada Lovelace"}]}))

    gateway = gateways(divided)
    bench.rows(bodies("[r]", "[r]"))
    bench.job(**{**ASKED, "evidence": ["who"]}, votes=2)
    ended = direct(bench, gateway.url)
    assert ended.code in (0, 3), ended.err
    assert ended.manifest["termination"]["kind"] == "complete"
    lines = [json.loads(line) for line in (bench.folder / "out/review.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [f"Read: {BODY.format(n=n, how='[r]')}" for n in range(2)]
