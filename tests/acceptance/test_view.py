"""`rowmill view`: every row of an output in a real browser, and the same as JSON; two outputs side by side."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rowmill
from rowmill.sandbox.process import spawn
from rowmill.sandbox.settings import Settings
from rowmill.tasks.output.prompts import Prompts
from rowmill.tasks.view.app import is_local
from rowmill.tasks.view.output import ViewedOutput
from tests.conftest import KEY, Bench

CHROMIUM = shutil.which("chromium")
HOSTILE = '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">'
SCHEMA = {
    "type": "object", "additionalProperties": False, "required": ["who", "tags", "kind"],
    "properties": {
        "who": {"type": "object", "additionalProperties": False, "required": ["name", "age"],
                "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "kind": {"enum": ["billing", "shipping", HOSTILE]},
    },
}  # fmt: skip
ROWS = [
    {"id": f"T-{n:03d}", "text": f"ticket {n} {HOSTILE if n % 5 == 0 else 'came late'}"
     + (" [[fault:invalid_request]]" if n % 13 == 5 else ""), "note": HOSTILE, "my col:x": f"c{n % 3}"}
    for n in range(120)
]  # fmt: skip
ASKED: dict[str, Any] = {
    "model": "gemini-3-pro", "id": "id", "schema": SCHEMA, "keep": ["note", "my col:x"], "system": "Be precise.",
    "params": {"include_thoughts": True}, "progress": False, "report": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two outputs over rows that share their ids, by different prompts; `labels` holds votes."""
    folder = tmp_path_factory.mktemp("view")
    with spawn(Settings()) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROWMILL_BASE_URL", sandbox.base_url)
        patch.setenv("ROWMILL_API_KEY", KEY)
        rowmill.extract(ROWS, folder / "a", prompt="Who wrote: {{ text }}", **ASKED)
        rowmill.extract(
            [*ROWS[:100], {**ROWS[0], "id": "new"}], folder / "b", prompt="Who wrote this: {{ text }}", **ASKED
        )
        keys = {key: value for key, value in ASKED.items() if key not in ("schema", "params", "system")}
        rowmill.label(ROWS[:20], folder / "labels", prompt="{{ text }}", labels=["x", "y"], votes=3, **keys)
    return folder


@contextmanager
def viewing(*outs: Path) -> Iterator[str]:
    """The command itself; gives its address."""
    bench = Bench(outs[0])
    process = subprocess.Popen(
        [sys.executable, "-m", "rowmill", "view", *map(str, outs), "--no-browser"],
        env=bench.environment(""), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), (line, process.stderr and process.stderr.read())
        yield line.split()[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def one(outputs: Path) -> Iterator[str]:
    with viewing(outputs / "a") as address:
        yield address


@pytest.fixture(scope="module")
def two(outputs: Path) -> Iterator[str]:
    with viewing(outputs / "a", outputs / "b") as address:
        yield address


def get(address: str, path: str, **headers: str) -> tuple[int, Any, Any]:
    request = urllib.request.Request(address.rstrip("/") + path, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def rows(address: str, *asked: tuple[str, Any]) -> dict[str, Any]:
    status, content, _ = get(address, "/api/rows?" + urlencode(asked))
    assert status == 200, content
    return json.loads(content)


def results(output: Path) -> pl.DataFrame:
    return pl.read_parquet(output / "results" / "*.parquet")


def test_rows_are_told_with_all_they_have(outputs, one):
    """/api/rows gives the total and a page of rows: the columns of the results, and the prompt as it was sent."""
    told = rows(one, ("offset", 3), ("limit", 4))
    frame = results(outputs / "a")
    assert told["total"] == 120
    assert [row["row_id"] for row in told["rows"]] == ["T-003", "T-004", "T-005", "T-006"]
    row = told["rows"][0]
    assert set(frame.columns) <= set(row)
    assert row["output"] == frame.row(3, named=True)["output"]
    assert Decimal(row["cost_usd"]) == frame["cost_usd"][3]
    assert row["prompt"] == "Be precise.\n\nWho wrote: ticket 3 came late"
    assert [turn["role"] for turn in row["prompt_turns"]] == ["system", "user"]
    assert row["prompt_note"] is None
    assert row["thoughts"]
    assert told["rows"][2]["error_kind"] == "invalid_request"
    assert rows(one, ("offset", 500))["rows"] == []
    assert len(rows(one)["rows"]) == 50


FILTERS = [
    ("status:ok", pl.col("status") == "ok"),
    ("-status:ok", pl.col("status") != "ok"),
    ("error_kind:invalid_request", pl.col("error_kind") == "invalid_request"),
    ("error_kind:", pl.col("error_kind").is_null()),
    ("output.kind:billing", pl.col("output").struct.field("kind") == "billing"),
    ("output.who.age:7", pl.col("output").struct.field("who").struct.field("age") == 7),
    ("output.who.age:>=100", pl.col("output").struct.field("who").struct.field("age") >= 100),
    ("attempts:1", pl.col("attempts") == 1),
    ("cost_usd:>0.0006", pl.col("cost_usd").cast(pl.Float64) > 0.0006),
    ("cost_unknown:false", ~pl.col("cost_unknown")),
    ("my col:x:c1", pl.col("my col:x") == "c1"),
    (f"note:{HOSTILE}", pl.col("note") == HOSTILE),
    ("started_at:19", pl.lit(False)),
    ("started_at:>2020-01-01", pl.col("started_at").is_not_null()),
]


@pytest.mark.parametrize(("asked", "wanted"), FILTERS, ids=[asked[:30] for asked, _ in FILTERS])
def test_a_filter_by_any_column(outputs, one, asked, wanted):
    """COLUMN:VALUE of text, numbers, money, flags, times, nested fields and names that hold colons."""
    frame = results(outputs / "a").filter(wanted)
    told = rows(one, ("filter", asked), ("limit", 500))
    assert told["total"] == frame.height
    assert [row["row_id"] for row in told["rows"]] == frame["row_id"].to_list()


def test_lists_are_filtered_by_what_they_hold(outputs, one):
    """A list column meets a filter that names one of its values."""
    tags = results(outputs / "a").filter(status="ok")["output"].struct.field("tags")
    tag = tags.explode()[0]
    assert rows(one, ("filter", f"output.tags:{tag}"))["total"] == tags.list.contains(tag).sum()


@pytest.mark.parametrize("sort", ["cost_usd", "-cost_usd", "-row_id", "output.who.age", "-error_kind", "latency_ms"])
def test_sorted_by_any_column(outputs, one, sort):
    """Ascending, or descending with a minus; rows without a value come last, equal ones keep their order."""
    name = sort.removeprefix("-")
    frame = results(outputs / "a").with_columns(
        pl.col("output").struct.field("who").struct.field("age").alias("output.who.age")
    )
    ordered = frame.sort(name, descending=sort != name, nulls_last=True, maintain_order=True)
    told = rows(one, ("sort", sort), ("offset", 10), ("limit", 60))
    assert [row["row_id"] for row in told["rows"]] == ordered["row_id"][10:70].to_list()


def test_a_search_reads_answers_errors_and_the_rows_input(outputs, one):
    """Text anywhere in a row, whatever its case: ids, answers, errors, and the input that the prompt is made of."""
    assert [row["row_id"] for row in rows(one, ("search", "t-007"))["rows"]] == ["T-007"]
    assert rows(one, ("search", "TICKET 11 "))["total"] == 1
    name = results(outputs / "a")["output"].struct.field("who").struct.field("name")[3]
    assert "T-003" in [row["row_id"] for row in rows(one, ("search", name.upper()), ("limit", 500))["rows"]]
    assert rows(one, ("search", "[[fault:"), ("filter", "status:ok"))["total"] == 0
    assert rows(one, ("search", "no such words"))["total"] == 0
    assert rows(one, ("contains", "note:ONERROR"), ("filter", "row_id:T-001"))["total"] == 1


WRONG = [
    ("filter=output.knd:x", "did you mean output.kind"), ("filter=nonsense", "COLUMN:VALUE"), ("sort=-nothing", "no column 'nothing'"),
    ("filter=attempts:many", "'many' is no number"), ("filter=attempts:nan", "is no number"),
    ("filter=cost_unknown:maybe", "neither true nor false"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "words"), WRONG, ids=[query for query, _ in WRONG])
def test_what_cannot_be_asked_is_told(one, query, words):
    """Unknown columns, values that cannot be: status 400 with words for people, and the server goes on."""
    status, content, _ = get(one, f"/api/rows?{query}")
    told = json.loads(content)
    assert status == 400
    assert words in f"{told['what']} {told['hint']}"
    assert rows(one)["total"] == 120


@pytest.mark.parametrize("query", ["limit=-1", "limit=99999", "offset=x", "offset=-5"])
def test_numbers_out_of_range_are_refused(one, query):
    assert get(one, f"/api/rows?{query}")[0] == 422


def test_one_row_by_its_id(one):
    """/api/rows/ID gives a row whole; one that is not there is null."""
    assert json.loads(get(one, "/api/rows/T-010")[1])["output"] is not None
    assert json.loads(get(one, "/api/rows/no%2Fsuch")[1]) is None


def test_two_outputs_are_told_by_field(outputs, two):
    """Rows of both by their ids, which fields changed; filters on what changed, on either side, and rows of one alone."""
    a, b = results(outputs / "a"), results(outputs / "b")
    about = json.loads(get(two, "/api/about")[1])
    assert (about["in_both"], about["only_a"], about["only_b"]) == (100, 20, 1)
    told = rows(two, ("limit", 500))
    assert told["total"] == 121
    assert told["rows"][-1]["row_id"] == "new"
    assert told["rows"][-1]["a"] is None
    both = a.join(b, on="row_id", suffix="_b", maintain_order="left")
    for field in ("kind", "tags"):
        values = [both[name].struct.field(field) for name in ("output", "output_b")]
        wanted = both.filter(values[0].ne_missing(values[1]))["row_id"].to_list()
        found = rows(two, ("filter", f"changed.output.{field}:true"), ("limit", 500))
        assert [row["row_id"] for row in found["rows"]] == wanted
        assert all(f"output.{field}" in row["changed"] for row in found["rows"])
    assert rows(two, ("filter", "only:a"))["total"] == 20
    failed = rows(two, ("filter", "-b.status:ok"), ("filter", "changed:false"))
    assert {row["b"]["status"] for row in failed["rows"]} == {"failed"}
    assert rows(two, ("search", "t-007"))["total"] == 1
    ordered = rows(two, ("sort", "-b.cost_usd"), ("limit", 3))["rows"]
    assert [row["b"]["cost_usd"] for row in ordered] == sorted([row["b"]["cost_usd"] for row in ordered], reverse=True)
    assert ordered[0]["a"]["prompt"] != ordered[0]["b"]["prompt"]


def put(address: str, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    asked = urllib.request.Request(
        address + path, data=body, method="PUT", headers={"content-type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_people_label_rows_on_the_page_and_the_next_run_takes_them(outputs, tmp_path):
    """A label said on the page stands in review.jsonl beside what stood there; the job's next run takes it, for nothing;
    a label outside the set, another site and an output of another kind are refused.
    """
    out = tmp_path / "labels"
    shutil.copytree(outputs / "labels", out)
    kept = {"row_id": ROWS[3]["id"], "text": "as it was", "gold": None}
    (out / "review.jsonl").write_text(json.dumps(kept) + "\n")
    with viewing(out) as address:
        assert json.loads(get(address, "/api/about")[1])["judges"]
        for row, label in ((ROWS[1]["id"], "y"), (ROWS[2]["id"], "x"), (ROWS[3]["id"], "x")):
            assert put(address, f"api/judgements/{row}", json.dumps({"gold": label}).encode()) == (
                200, {"row_id": row, "gold": [label]},
            )  # fmt: skip
        assert put(address, f"api/judgements/{ROWS[2]['id']}", b'{"gold": null}')[1]["gold"] is None
        assert json.loads(get(address, "/api/judgements")[1]) == {ROWS[1]["id"]: ["y"], ROWS[3]["id"]: ["x"]}
        status, told = put(address, f"api/judgements/{ROWS[1]['id']}", b'{"gold": "z"}')
        assert (status, told["what"]) == (400, "the label 'z' is not among the labels (x, y)")
        assert put(address, "api/judgements/r", b'{"gold": "x"}', host="evil.example")[0] == 403
        assert put(address, "api/judgements/r", b"gold=x", **{"content-type": "text/plain"})[0] == 422
    lines = [json.loads(line) for line in (out / "review.jsonl").read_text().splitlines()]
    assert lines == [{**kept, "gold": "x"}, {"row_id": ROWS[1]["id"], "gold": "y"}]
    with viewing(outputs / "a") as address:
        assert not json.loads(get(address, "/api/about")[1])["judges"]
        assert put(address, "api/judgements/r", b'{"gold": "x"}')[0] in (404, 405)
    keys = {key: value for key, value in ASKED.items() if key not in ("schema", "params", "system")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROWMILL_BASE_URL", "http://127.0.0.1:9")
        patch.setenv("ROWMILL_API_KEY", KEY)
        rowmill.label(ROWS[:20], out, prompt="{{ text }}", labels=["x", "y"], votes=3, **keys)
    frame = results(out)
    assert frame.filter(row_id=ROWS[1]["id"])["label"].to_list() == ["y"]
    assert frame.filter(row_id=ROWS[3]["id"])["label"].to_list() == ["x"]


def test_votes_and_labels_are_rows_too(outputs):
    """An output of labels: filter by label, each vote with its answer and cost."""
    with viewing(outputs / "labels") as address:
        frame = results(outputs / "labels")
        told = rows(address, ("filter", "label:x"))
        assert told["total"] == frame.filter(label="x").height
        assert len(rows(address)["rows"][0]["votes"]) >= 2
        assert json.loads(get(address, "/api/about")[1])["outputs"][0]["labels"] == ["x", "y"]


def test_rows_without_their_input_say_so(outputs, tmp_path):
    """Where the input is gone or has changed the row is there all the same, and says why its prompt is not."""
    shutil.copytree(outputs / "a", tmp_path / "moved")
    manifest = json.loads((tmp_path / "moved/run.json").read_text())
    manifest["job"]["input"] = str(tmp_path / "gone.jsonl")
    (tmp_path / "moved/run.json").write_text(json.dumps(manifest))
    view = ViewedOutput(tmp_path / "moved")
    (row,) = view.rows([0], prompts=True)
    assert row["prompt"] is None
    assert "not there any more" in row["prompt_note"]
    changed = [{**row, "text": "another"} for row in ROWS]
    (tmp_path / "gone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    (row,) = ViewedOutput(tmp_path / "moved").rows([0], prompts=True)
    assert row["prompt"] == "Be precise.\n\nWho wrote: another"
    assert "changed since" in row["prompt_note"]


def test_a_run_that_goes_on_is_seen_to(outputs, tmp_path):
    """Parts that appear while the page is open are rows at the next question."""
    shutil.copytree(outputs / "a", tmp_path / "out")
    view = ViewedOutput(tmp_path / "out")
    assert view.page(view.query(filters=["status:ok"]), 0, 500)[0] > 90
    part = tmp_path / "out/results/part-000000.parquet"
    shutil.copy(part, part.with_name("part-000001.parquet"))
    assert view.page(view.query(), 0, 1)[0] == 240


def test_the_page_is_for_this_machine_alone(one):
    """A name of somebody else's that leads here is refused; every answer forbids scripts and frames from elsewhere."""
    port = urlsplit(one).port
    for host in (f"evil.example:{port}", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example"):
        assert get(one, "/api/rows", Host=host)[0] == 403
        assert get(one, "/", Host=host)[0] == 403
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST"):
        assert get(one, "/", Host=host)[0] == 200
    for path in ("/", "/view.js", "/api/rows?limit=1", "/nothing"):
        _, _, headers = get(one, path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    page = get(one, "/")[1].decode() + get(one, "/view.js")[1].decode() + get(one, "/view.css")[1].decode()
    assert not re.search(r"https?://|innerHTML|insertAdjacentHTML|document\.write|eval\(", page)


@given(host=st.text(st.characters(codec="latin-1"), max_size=30))
def test_no_other_host_is_local(host):
    """Whatever a Host header says, only this machine's own names are taken."""
    if is_local(host):
        assert re.fullmatch(r"(127\.0\.0\.1|localhost|\[::1\])(:\d*)?", host, re.IGNORECASE)


@settings(max_examples=40)
@given(search=st.text(max_size=8), sort=st.sampled_from(["", "-cost_usd", "row_id", "output.tags"]),
       asked=st.lists(st.sampled_from([asked for asked, _ in FILTERS]), max_size=3))  # fmt: skip
def test_a_page_is_part_of_the_whole(outputs, search, sort, asked):
    """Whatever is searched, filtered and sorted: pages put together are the whole, and no row comes twice."""
    view = ViewedOutput(outputs / "a")
    query = view.query(search=search, filters=asked, sort=sort)
    total, whole = view.page(query, 0, 500)
    assert total == len(whole)
    pages = [row["row_id"] for offset in range(0, total, 37) for row in view.page(query, offset, 37)[1]]
    assert pages == [row["row_id"] for row in whole]
    assert len(set(pages)) == total


@pytest.mark.parametrize(("arguments", "words"), [
    (("no-such",), "no run here"), (("a", "no-such"), "no run here"), (("a", "--port", "99999"), "port cannot be used"),
])  # fmt: skip
def test_what_cannot_be_shown_is_told(outputs, arguments, words):
    """No run, an impossible port: exit 2 in one line."""
    ended = Bench(outputs).run("", "view", *arguments, "--no-browser")
    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err


def browse(address: str, folder: Path, *flags: str) -> tuple[str, str]:
    """The page's DOM after its script has run, and what the browser logged."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1300,900",
         f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=8000",
         *flags, "--dump-dom", address],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def texts(dom: str, tag: str) -> list[str]:
    return [
        html.unescape(re.sub(r"<[^>]+>", "", one))
        for one in re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", dom, re.DOTALL)
    ]


def assert_harmless(dom: str, console: str) -> None:
    assert console == ""
    assert texts(dom, "title")[0].endswith("rowmill view")
    assert not re.search(r"<img\b", dom)
    assert re.findall(r"<script\b[^>]*>", dom) == ['<script src="/view.js" defer="">']


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_a_browser_shows_rows_and_a_row_and_nothing_that_was_said_runs(outputs, one, tmp_path):
    """In a real browser: a link keeps filter and open row; markup in prompts, answers and columns stays text."""
    frame = results(outputs / "a")
    wanted = frame.filter((pl.col("status") == "ok") & (pl.col("output").struct.field("kind") == HOSTILE))
    chosen = wanted["row_id"][0]
    dom, console = browse(
        f"{one}?{urlencode([('filter', f'output.kind:{HOSTILE}'), ('sort', '-row_id'), ('row', chosen)])}", tmp_path
    )
    assert_harmless(dom, console)
    cells = texts(dom, "td")
    assert cells[0] == wanted["row_id"][-1]
    assert f"1 to {min(50, wanted.height)} of {wanted.height}" in dom
    shown = texts(dom, "pre")
    assert any(text.startswith("Who wrote: ticket") for text in shown)
    assert any(HOSTILE in text for text in shown) or chosen
    assert HOSTILE in cells
    assert "Prompt as sent" in dom
    assert chosen in texts(dom, "h1")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_a_browser_shows_two_outputs_side_by_side(two, tmp_path):
    """In a real browser: both heads, what changed as A → B, and one row's two prompts beside each other."""
    dom, console = browse(f"{two}?filter=changed:true&row=T-003", tmp_path)
    assert_harmless(dom, console)
    heads = texts(dom, "h1")
    assert heads[0].startswith("A: ")
    assert heads[1].startswith("B: ")
    assert any(" → " in cell for cell in texts(dom, "td"))
    prompts = [text for text in texts(dom, "pre") if text.startswith("Who wrote")]
    assert [text.split(":")[0] for text in prompts] == ["Who wrote", "Who wrote this"]


def test_a_search_reads_the_input_of_so_many_rows_and_the_page_says_where_it_does_not(outputs, monkeypatch):
    """The rows of a small output are searched with their input; of a larger one it is not read, and the page says so."""
    read: list[str] = []
    monkeypatch.setattr(Prompts, "rows_with", lambda self, part, text: read.append(text) or [])
    view = ViewedOutput(outputs / "a")
    query = view.query(search="came late", filters=[], contains=[], sort="")
    assert view.about()["searches_input"]
    view.page(query, 0, 1)
    assert read
    read.clear()
    monkeypatch.setattr("rowmill.tasks.view.output.INPUT_SEARCHED", 10)
    other = ViewedOutput(outputs / "a")
    assert not other.about()["searches_input"]
    assert other.page(query, 0, 1)[0] > 50
    assert not read
