"""Everything both models offer, from a job: streams, media, thinking, tools, and other gateways with the same protocols."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import polars as pl
import pytest

from tests.acceptance.test_run import MODELS, direct, numbered
from tests.conftest import PERSON, assert_balanced, money

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
ROOT = Path(__file__).resolve().parents[2]
FORECAST = {
    "name": "forecast",
    "description": "Weather of a place",
    "parameters": {"type": "object", "properties": {"place": {"type": ["string", "null"]}}, "required": ["place"]},
}
SAME = ["row_id", "status", "output", "response_text", "finish_reason", "input_tokens", "output_tokens", "thought_tokens",
        "cost_usd", "request_key", "thoughts"]  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_streaming_and_not_give_the_same_rows(bench, sandboxes, model):
    """With and without streams the rows, tokens and bills are the same, thoughts included."""
    sandbox = sandboxes()
    bench.rows(numbered(30))
    told = []
    for stream in (False, True):
        bench.job(model=model, id="id", schema=PERSON, params={"stream": stream, "include_thoughts": True})
        assert direct(bench, sandbox.base_url, "-o", f"out{stream}").code == 0
        told.append(bench.results(f"out{stream}").select(SAME))
    assert told[0].equals(told[1])
    assert told[0]["thoughts"].null_count() == 0
    assert money(told[0]["cost_usd"].sum()) * 2 == money(sandbox.books()["billed_usd"])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fault", ["truncated", "no_usage"])
def test_a_stream_cut_short_or_without_usage_is_flagged(bench, sandboxes, model, fault):
    """A stream that ends early is asked again and its bill is unknown; one without usage is ok and flagged."""
    sandbox = sandboxes()
    bench.rows([{"id": "a", "text": f"[[fault:{fault}*1]] x"}, {"id": "b", "text": "y"}])
    bench.job(model=model, id="id", params={"stream": True})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 0, ended.err
    row = bench.results().row(0, named=True)
    assert (row["status"], row["cost_unknown"], row["attempts"]) == ("ok", True, 2 if fault == "truncated" else 1)
    told, bound = (money(ended.manifest["totals"][name]) for name in ("cost_usd", "unknown_cost_bound_usd"))
    assert told < money(sandbox.books()["billed_usd"]) <= told + bound


def test_a_stalled_call_ends_by_silence(bench, sandboxes):
    """A call of which no byte comes for limits.timeout_s is given up and tried again."""
    sandbox = sandboxes()
    bench.rows([{"id": "a", "text": "[[fault:hang*1]] x"}])
    bench.job(id="id", limits={"timeout_s": 0.5})
    assert direct(bench, sandbox.base_url).code == 0
    assert bench.results()["attempts"].to_list() == [2]
    assert bench.manifest()["totals"]["retries"] == {"timeout": 1}


@pytest.mark.parametrize(("usage", "model"), [("beside", MODELS[0]), ("inside", MODELS[0]), ("beside", MODELS[1])])
def test_thoughts_are_billed_once_wherever_they_are_counted(bench, sandboxes, usage, model):
    """Inside or beside the completion, thoughts are counted once and billed as output."""
    sandbox = sandboxes(thoughts_beside=usage == "beside")
    bench.rows(numbered(20))
    bench.job(model=model, id="id", params={"thinking": "low"})
    assert direct(bench, sandbox.base_url).code == 0
    books, results = sandbox.books(), bench.results()
    assert results["thought_tokens"].sum() == books["thought_tokens"] > 0
    assert results["output_tokens"].sum() == books["output_tokens"]
    assert money(results["cost_usd"].sum()) == money(books["billed_usd"])
    assert "thoughts" not in results.columns


@pytest.mark.parametrize("model", MODELS)
def test_search_keeps_its_grounding_and_says_where_the_schema_went(bench, sandboxes, model):
    """A search's grounding stands in its column; a schema beside it goes into the prompt, and that is said."""
    sandbox = sandboxes()
    bench.rows(numbered(3))
    bench.job(model=model, id="id", schema=PERSON, params={"search": True})
    checked = bench.run("", "check", "job.yaml")
    assert "goes into the prompt" in checked.out
    assert "response_format" not in checked.out
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 0, ended.err
    assert "goes into the prompt" in ended.err
    grounding = json.loads(bench.results()["grounding"][0])
    assert grounding["groundingChunks"][0]["web"]["uri"].startswith("https://")
    assert bench.results()["output"].struct.field("name").null_count() == 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_function_calls_come_back_typed(bench, sandboxes, model, stream):
    """Declared functions are asked for, and their calls stand typed in tool_calls; nothing is executed."""
    sandbox = sandboxes()
    bench.rows(numbered(3))
    bench.job(model=model, id="id", tools=[FORECAST], params={"stream": stream})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 0, ended.err
    results = bench.results()
    assert results.schema["tool_calls"] == pl.List(
        pl.Struct({"id": pl.String, "name": pl.String, "arguments": pl.String})
    )
    call = results["tool_calls"][0][0]
    assert call["name"] == "forecast"
    assert set(json.loads(call["arguments"])) == {"place"}
    assert_balanced(ended.manifest, results)


@pytest.mark.parametrize("model", MODELS)
def test_what_the_pages_forbid_is_refused_before_a_call(bench, sandboxes, model):
    """Search with functions is refused by job and by row; a row with tools and response_format fails unsent."""
    sandbox = sandboxes()
    bench.rows(numbered(2))
    bench.job(model=model, tools=[FORECAST], params={"search": True})
    assert "cannot be used together" in bench.run("", "check", "job.yaml").err
    assert direct(bench, sandbox.base_url).code == 2
    chat = {"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function", "function": {"name": "f"}}],
            "response_format": {"type": "json_schema", "json_schema": {"schema": PERSON}}}  # fmt: skip
    both = {"contents": [{"parts": [{"text": "x"}]}], "tools": [{"googleSearch": {}}, {"functionDeclarations": []}]}
    bench.rows([{"body": chat} if model == MODELS[0] else {"request": both}, {"prompt": "fine"}])
    bench.job(model=model, prompt=None)
    assert direct(bench, sandbox.base_url).code == 3
    assert bench.results()["status"].to_list() == ["failed", "ok"]
    assert sandbox.books()["calls"] == 1


def media_folder(bench) -> Path:
    root = bench.folder / "media"
    (root / "deep").mkdir(parents=True)
    (root / "deep/dot.png").write_bytes(PNG)
    (root / "doc.pdf").write_bytes(b"%PDF-1.4 tiny")
    (root / "sound.mp3").write_bytes(b"ID3" + bytes(200))
    (root / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    return root


@pytest.mark.parametrize("model", MODELS)
def test_media_of_every_kind_are_sent(bench, sandboxes, model):
    """Images, audio, video and PDF from files and data: URLs reach the model; two columns and a list go together."""
    sandbox = sandboxes(detail=True)
    media_folder(bench)
    bench.rows(
        [
            {"id": "png", "text": "1", "file": "deep/dot.png"},
            {"id": "pdf", "text": "2", "file": "doc.pdf"},
            {"id": "mp3", "text": "3", "file": "sound.mp3"},
            {"id": "mp4", "text": "4", "file": "clip.mp4"},
            {"id": "url", "text": "5", "file": PNG_URL},
            {"id": "two", "text": "6", "file": ["doc.pdf", PNG_URL], "more": "deep/dot.png"},
            {"id": "none", "text": "7", "file": None},
        ]
    )
    bench.job(model=model, id="id", attachments=["file", "more"], media_root="media")
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 0, ended.err
    tokens = dict(bench.results().select("row_id", "input_tokens").iter_rows())
    counted = {row: tokens[row] - tokens["none"] for row in tokens}
    # Google's budgets: an image 1,120, a page 560, next to nothing for a sound and a film of no length.
    assert counted == {"none": 0, "png": 1_120, "url": 1_120, "pdf": 560, "mp3": 1, "mp4": 70, "two": 560 + 2 * 1_120}
    assert money(bench.results()["cost_usd"].sum()) == money(sandbox.books()["billed_usd"])


def test_addresses_go_to_pro_as_they_are_and_are_refused_on_flash(bench, sandboxes):
    """An https address is passed on where the page takes one, never fetched by us, and refused where it does not."""
    sandbox = sandboxes()
    bench.rows([{"id": "a", "text": "x", "file": "https://127.0.0.1:9/doc.pdf"}, {"id": "b", "text": "y"}])
    for model, status in zip(MODELS, ("ok", "failed"), strict=True):
        bench.job(model=model, id="id", attachments=["file"])
        direct(bench, sandbox.base_url, "-o", model)
        assert bench.results(model)["status"].to_list() == [status, "ok"]


def test_nothing_outside_media_root_is_read(bench, sandboxes):
    """Missing files, links, '..', absolute paths, pipes, other types and sizes fail their row alone, named; check says so."""
    sandbox = sandboxes()
    root = media_folder(bench)
    (bench.folder / "secret.png").write_bytes(PNG)
    (root / "link.png").symlink_to(bench.folder / "secret.png")
    (root / "linked").symlink_to(bench.folder)
    os.mkfifo(root / "pipe.png")
    (root / "big.png").write_bytes(bytes(5_000))
    (root / "empty.png").write_bytes(b"")
    wrong = ["none.png", "link.png", "linked/secret.png", "../secret.png", str(bench.folder / "secret.png"), "pipe.png",
             "big.png", "empty.png", "notes.txt", "http://127.0.0.1/x.png", "file:///etc/passwd",
             "data:text/html;base64,AAAA", "data:image/png;base64,@@@", "data:image/png,abc", 7, "a\0.png"]  # fmt: skip
    bench.rows(
        [{"id": "ok", "text": "0", "file": "deep/dot.png"}]
        + [{"id": f"w{n}", "text": "1", "file": f} for n, f in enumerate(wrong)]
    )
    bench.job(id="id", attachments=["file"], media_root="media", limits={"max_media_bytes": 4_000})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 3, ended.err
    results = bench.results()
    assert results["status"].to_list() == ["ok"] + ["failed"] * len(wrong)
    assert results["error_kind"].to_list()[1:] == ["media"] * len(wrong)
    for value, message in list(zip(wrong, results["error_message"].to_list()[1:], strict=True))[:10]:
        assert value in message
    assert sandbox.books()["calls"] == 1
    checked = bench.run("", "check", "job.yaml")
    assert checked.code == 2
    assert "files of type txt are not supported" in checked.out


def test_a_changed_file_is_another_request(bench, sandboxes):
    """A row whose file has other content is asked again, under the same name or not."""
    sandbox = sandboxes()
    root = media_folder(bench)
    bench.rows([{"id": "a", "text": "x", "file": "deep/dot.png"}])
    bench.job(id="id", attachments=["file"], media_root="media")
    assert direct(bench, sandbox.base_url).code == 0
    (root / "deep/dot.png").write_bytes(PNG + b"\0")
    bench.rows([{"id": "a", "text": "x", "file": "deep/dot.png", "v": 2}])
    assert direct(bench, sandbox.base_url).code == 0
    assert sandbox.books()["calls"] == 2


OWN = """
[models.local]
protocol = "chat-completions"
path = "/v1/chat/completions"
wire_name = "gemini-3-pro"
base_url = "{url}"
context_window = 32768
max_output_tokens = 4096
native_schema = true
version = "mine-1"
source = "my own server"
checked = 2026-11-21

[models.google]
protocol = "generate-content"
path = "/v1/gemini/v1beta/models/gemini-3-flash"
base_url = "{url}"
auth = "x-goog-api-key"
context_window = 1000000
max_output_tokens = 65536
native_schema = true
search_with_functions = true
version = "g-1"
source = "Google's price list"
checked = 2026-11-21
price = {{input_usd = "0.50", output_usd = "3.00"}}
"""


def test_other_gateways_with_prices_of_their_own_or_none(bench, sandboxes):
    """A model of the user's catalogue is called at its own address; without a price cost is null and a cap refused."""
    sandbox = sandboxes()
    (bench.folder / "mine.toml").write_text(OWN.format(url=sandbox.base_url))
    bench.rows(numbered(5))
    bench.job(model="local", catalogue="mine.toml", schema=PERSON, id="id")
    ended = direct(bench, "http://127.0.0.1:9", "-o", "local")
    assert ended.code == 0, ended.err
    local = bench.results("local")
    assert local["cost_usd"].null_count() == 5
    assert local["input_tokens"].sum() > 0
    assert ended.manifest["totals"]["cost_usd"] is None
    assert "cost: unknown" in ended.err
    capped = direct(bench, "http://127.0.0.1:9", "-o", "capped", "--max-cost", "1")
    assert capped.code == 2
    assert "price of local is unknown" in capped.err
    bench.job(
        model="google", catalogue="mine.toml", schema=PERSON, id="id", params={"max_output_tokens": 500}, max_cost_usd=1
    )
    assert direct(bench, "http://127.0.0.1:9", "-o", "google").code == 0
    google = bench.results("google")
    row = google.row(0, named=True)
    told = row["input_tokens"] * money("0.5") + (row["output_tokens"] + row["thought_tokens"]) * 3
    assert row["cost_usd"] * 10**6 == told
    assert set(google["price_version"]) == {"g-1"}


def sample_jobs() -> list[str]:
    """All but those of documents/, which test_documents.py runs."""
    jobs = (ROOT / "sample_data").rglob("*.yaml")
    return sorted(str(path.relative_to(ROOT)) for path in jobs if path.parent.name != "documents")


@pytest.mark.parametrize("job", sample_jobs())
def test_each_sample_job_runs(bench, job):
    """Every job in sample_data checks or says which rows cannot be asked, runs against the sandbox and balances."""
    answers = (ROOT / job).parent / "sandbox.json"
    sandbox = ("--sandbox-settings", str(answers)) if answers.exists() else ("--sandbox",)
    ended = bench.run("", "run", str(ROOT / job), *sandbox, "--direct", "--json", "-o", "out")
    assert ended.code == (3 if "malformed" in job else 0), ended.err
    assert_balanced(ended.manifest, bench.results())
    assert ended.manifest["ledger"]["unreadable"] == (8 if "malformed" in job else 0)


KEYLESS = """
[models.mine]
protocol = "chat-completions"
path = "/v1/chat/completions"
wire_name = "gemini-3-pro"
base_url = "{url}"
auth = "none"
context_window = 32768
max_output_tokens = 4096
native_schema = true
version = "local"
source = "my own server"
checked = 2026-11-21
price = {{input_usd = "0", output_usd = "0"}}
"""


def test_a_server_that_asks_for_no_key_needs_none(bench, gateways):
    """auth = "none": the run needs no ROWMILL_API_KEY, and where one is set it is not sent; a cap of a free model holds."""
    gateway = gateways()
    (bench.folder / "mine.toml").write_text(KEYLESS.format(url=gateway.url))
    bench.rows(numbered(3))
    bench.job(model="mine", catalogue="mine.toml", id="id", max_cost_usd=1)
    for key in ("", "sk-not-for-this-server"):
        ended = direct(bench, "http://127.0.0.1:9", "--fresh", ROWMILL_API_KEY=key)
        assert ended.code == 0, ended.err
    assert [ask.key for ask in gateway.asks] == [""] * 6


def test_a_model_of_ones_own_is_tried_in_the_sandbox_and_not_on_its_server(bench, gateways):
    """--sandbox plays models of the user's catalogue too: their own server gets no call."""
    gateway = gateways()
    (bench.folder / "mine.toml").write_text(KEYLESS.format(url=gateway.url).replace('"gemini-3-pro"', '"llama3.2:3b"'))
    bench.rows(numbered(3))
    bench.job(model="mine", catalogue="mine.toml", id="id")
    ended = direct(bench, "http://127.0.0.1:9", "--sandbox")
    assert ended.code == 0, ended.err
    assert bench.results()["status"].to_list() == ["ok"] * 3
    assert gateway.asks == []


def test_a_catalogue_to_start_from(bench):
    """`rowmill models --init` writes a file that `rowmill models` reads, and overwrites nothing."""
    assert bench.run("", "models", "--init", "own.toml").code == 0
    shown = bench.run("", "models", "--catalogue", "own.toml", "--json").manifest
    assert {"llama-local", "qwen-vllm", "llama-cpp", "litellm", "gemini-google", "gpt-openai"} <= set(shown)
    again = bench.run("", "models", "--init", "own.toml")
    assert again.code == 2
    assert "is there already" in again.err
