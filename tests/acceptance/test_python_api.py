"""`import rowmill`: jobs and frames from a script and from a notebook, as the command runs them."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import polars as pl
import pytest
from IPython.lib.pretty import RepresentationPrinter
from nbclient import NotebookClient
from pydantic import BaseModel

import rowmill
from rowmill.flows.text.python_words import in_python
from tests.conftest import KEY, PERSON, assert_balanced

ROOT = Path(__file__).resolve().parents[2]


class Person(BaseModel):
    name: str
    n: int


QUIET = {"progress": False, "report": False}
ASKED: dict[str, Any] = {
    "model": "gemini-3-pro", "id": "id", "prompt": "Say {{ text }}", "schema": PERSON, **QUIET,
}  # fmt: skip


def people(count: int) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "text": f"person {n}"} for n in range(count)]


@pytest.fixture
def sandbox(sandboxes, monkeypatch, tmp_path):
    """A sandbox that the environment names, as a gateway would be."""
    running = sandboxes()
    monkeypatch.setenv("ROWMILL_API_KEY", KEY)
    monkeypatch.setenv("ROWMILL_BASE_URL", running.base_url)
    monkeypatch.chdir(tmp_path)
    return running


def job(folder: Path, rows: int = 5, **keys: Any) -> rowmill.Job:
    pl.DataFrame(people(rows)).write_ndjson(folder / "rows.jsonl")
    told = {key: value for key, value in {**ASKED, **keys}.items() if key not in QUIET}
    return rowmill.Job(**{"input": "rows.jsonl", "output": "out", **told})


def test_a_job_is_loaded_run_and_read(sandbox, tmp_path):
    """Job.load, run with a limit, the manifest and the frames; run again without it, only the new rows are asked."""
    job(tmp_path, 30)
    (tmp_path / "job.yaml").write_text(
        "model: gemini-3-pro\ninput: rows.jsonl\noutput: out\nid: id\nprompt: 'Say {{ text }}'\n"
    )
    loaded = rowmill.Job.load("job.yaml")
    result = rowmill.run(loaded, limit=10, **QUIET)
    assert isinstance(loaded, rowmill.Job)
    assert result.manifest["ledger"]["ok"] == 10
    assert result.frame()["row_id"].to_list() == [f"r{n}" for n in range(10)]
    assert result.lazy().select(pl.len()).collect().item() == len(result.to_pandas()) == 10
    again = rowmill.run(loaded, progress=False)
    assert sandbox.books()["calls"] == 30
    assert_balanced(dict(again.manifest), again.frame())
    for told in ("out", loaded, "job.yaml", tmp_path):
        assert rowmill.Result.load(told).frame().equals(again.frame())
    assert (tmp_path / "out/report.html").exists()


def test_a_forecast_and_a_result_are_read_by_people(sandbox, tmp_path):
    """Printed, or shown by a notebook, they say what the command says, and not how they are made."""
    asked = job(tmp_path, 3)
    forecast = rowmill.estimate(asked)
    result = rowmill.run(asked, **QUIET)
    for told, words in ((forecast, "cost: $"), (result, "complete: 3 rows: 3 ok")):
        printer = RepresentationPrinter(io.StringIO())
        printer.pretty(told)
        printer.flush()
        assert words in str(told)
        assert printer.output.getvalue() == str(told)
    assert repr(result) == f"Result(folder={str(tmp_path / 'out')!r})"


@pytest.mark.parametrize(
    "made", [list, pl.DataFrame, pl.LazyFrame, pd.DataFrame, lambda rows: pl.DataFrame(rows).to_arrow()],
    ids=["dicts", "polars", "lazy", "pandas", "arrow"],
)  # fmt: skip
def test_every_kind_of_frame_gives_the_same_results(sandbox, made):
    """Dicts, polars, lazy, pandas and Arrow: a row for each in order; pandas comes back as pandas, others as polars."""
    found = rowmill.extract(made(people(4)), "out", keep=["text"], **ASKED)
    assert isinstance(found, pd.DataFrame if made is pd.DataFrame else pl.DataFrame)
    assert list(found["row_id"]) == ["r0", "r1", "r2", "r3"]
    assert list(found["text"]) == [f"person {n}" for n in range(4)]
    assert set(found["status"]) == {"ok"}
    assert found["output"][0] == {"name": "Say", "n": 0}


def test_a_pandas_frame_comes_back_under_its_own_index_with_whole_numbers(sandbox):
    """A column is assigned to the frame that was asked, row by row; numbers with gaps are not rounded."""
    big = [2**53 + 1, None, 2**53 + 3, 4]
    frame = pd.DataFrame(people(4)).assign(
        big=pd.array(big, "Int64"), yes=pd.array([True, None, False, True], "boolean")
    )
    asked = frame[frame["text"] != "person 0"]
    found = rowmill.extract(asked, "out", keep=["text", "big", "yes"], **ASKED)
    assert list(found.index) == [1, 2, 3]
    assert list(asked.assign(again=found["text"])["again"]) == list(asked["text"])
    assert found["big"].tolist()[1:] == big[2:]
    assert (str(found["big"].dtype), str(found["yes"].dtype)) == ("Int64", "boolean")
    assert isinstance(rowmill.Result.load("out").to_pandas()["output"][0]["n"], int)


def test_the_rows_of_a_frame_are_paid_once_whatever_its_kind(sandbox):
    """The same rows as another kind of frame, and a grown one, cost their new rows only; the same again costs nothing."""
    rowmill.extract(people(6), "out", **ASKED)
    rowmill.extract(pl.DataFrame(people(6)), "out", **ASKED)
    rowmill.extract(pd.DataFrame(people(6)).set_index("id"), "out", **ASKED)
    found = rowmill.extract(pl.DataFrame(people(9)), "out", **ASKED)
    again = rowmill.extract(pl.DataFrame(people(9)), "out", **ASKED)
    assert sandbox.books()["calls"] == 9
    assert again.equals(found)
    assert sorted(path.name for path in Path("out").glob("input.*")) == ["input.parquet"]


def test_sandbox_starts_one(monkeypatch, tmp_path, sandboxes):
    """sandbox=True asks a sandbox of its own: no key is needed, and the address in the environment is not called."""
    elsewhere = sandboxes()
    monkeypatch.delenv("ROWMILL_API_KEY", raising=False)
    monkeypatch.setenv("ROWMILL_BASE_URL", elsewhere.base_url)
    monkeypatch.chdir(tmp_path)
    found = rowmill.extract(people(3), "out", sandbox=True, **{**ASKED, "schema": Person})
    assert found["status"].to_list() == ["ok"] * 3
    assert rowmill.run(job(tmp_path, output="b"), sandbox=True, **QUIET).manifest["ledger"]["ok"] == 5
    assert elsewhere.books()["calls"] == 0


def test_a_stopped_run_raises_with_its_manifest_in_pythons_words(sandbox, tmp_path):
    """Stopped is a RowmillError with kind, reason and way out; it names keywords, not flags, and can be pickled."""
    with pytest.raises(rowmill.Stopped) as caught:
        rowmill.run(job(tmp_path, max_cost_usd="0.000001"), **QUIET)
    error = caught.value
    assert isinstance(error, rowmill.RowmillError)
    assert (error.where, error.manifest["termination"]["kind"]) == ("budget", "budget")
    assert "max_cost_usd" in error.hint
    assert "--" not in str(error)
    assert pickle.loads(pickle.dumps(error)).manifest == error.manifest


def test_a_changed_prompt_is_told_in_pythons_words_and_fresh_begins_anew(sandbox):
    """Another prompt in the same output is refused with the keyword that helps; with fresh=True it is asked."""
    rowmill.extract(people(3), "out", **ASKED)
    changed = {**ASKED, "prompt": "Tell me of {{ text }}"}
    with pytest.raises(rowmill.RowmillError, match=r"changed: prompt.*fresh=True"):
        rowmill.extract(people(3), "out", **changed)
    found = rowmill.extract(people(3), "out", fresh=True, **changed)
    assert found["status"].to_list() == ["ok"] * 3
    assert sandbox.books()["calls"] == 6
    assert any(Path("out/previous").iterdir())


WRONG = [
    ({"promt": "x"}, "did you mean 'prompt'"),
    ({"limit": 0}, "limit: 0 is no number of rows"),
    ({"limit": "3"}, "limit: '3' is no number of rows"),
    ({"schema": "no.json"}, "no.json"),
    ({"input": "rows.jsonl"}, "the rows are the input"),
]


@pytest.mark.parametrize(("keys", "words"), WRONG, ids=[next(iter(keys)) for keys, _ in WRONG])
def test_what_is_wrong_is_told_before_a_row_is_written(sandbox, keys, words):
    """Misspelt keys, impossible numbers, a missing schema: a RowmillError of one line, and nothing stands there."""
    with pytest.raises(rowmill.RowmillError, match=words):
        rowmill.extract(people(1), "out", **{**ASKED, **keys})
    assert not Path("out").exists()


NO_FRAMES: list[tuple[Any, str]] = [
    ("text", "str is no frame"), (7, "int is no frame"), ([1], r"rows\[0\]: a int is no row"),
    ({"a": [1]}, "dict is no frame"), ([{"a": object()}], r"rows\[0\]: cannot be written as JSON"),
    (pd.DataFrame({"a": [1, "x"]}), "cannot be written to Parquet"),
    (pd.DataFrame([[1, 2]], columns=["a", "a"]), "cannot be written to Parquet"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "words"), NO_FRAMES, ids=range(len(NO_FRAMES)))
def test_what_is_no_frame_is_told(sandbox, rows, words):
    """Text, numbers, columns of two types: a RowmillError that says what to hand over."""
    with pytest.raises(rowmill.RowmillError, match=words):
        rowmill.extract(rows, "out", **ASKED)


@pytest.mark.parametrize(("given", "words"), [("job.yaml", r"Job\.load\('job\.yaml'\)"), ({}, r"rowmill\.Job\(model=")])
@pytest.mark.parametrize("call", [rowmill.run, rowmill.estimate])
def test_what_is_no_job_is_told_with_what_makes_one(call, given, words):
    """The name of a job's file, its keys: refused as a user's mistake, with the call that was meant."""
    with pytest.raises(rowmill.RowmillError, match=words):
        call(given)


def test_a_frame_without_rows_comes_back_with_its_columns(sandbox):
    """No rows in, no rows out, and the columns of the results all the same."""
    found = rowmill.extract(
        pl.DataFrame({"id": [], "text": []}, schema={"id": pl.String, "text": pl.String}), "out", **ASKED
    )
    assert found.height == 0
    assert {"row_id", "status", "output", "cost_usd"} <= set(found.columns)


def test_labels_of_a_frame_and_of_a_job(sandbox, tmp_path):
    """The label section's keys stand beside the others; of a job, `gold` is a file of labels that people gave."""
    keys = {key: value for key, value in ASKED.items() if key != "schema"}
    found = rowmill.label(people(4), "frame", labels=["a", "b"], votes=3, **keys)
    assert set(found["label"]) <= {"a", "b"}
    assert {"votes", "agreement"} <= set(found.columns)
    (tmp_path / "gold.jsonl").write_text('{"row_id": "r1", "gold": "b"}\n')
    made = job(tmp_path, schema=None, label={"labels": ["a", "b"], "votes": 1})
    result = rowmill.label(made, gold=tmp_path / "gold.jsonl", **QUIET)
    assert result.frame().filter(row_id="r1")["label"].to_list() == ["b"]
    with pytest.raises(rowmill.RowmillError, match="label"):
        rowmill.label(job(tmp_path, output="c"), **QUIET)


def test_an_estimate_sends_nothing_and_a_pilot_pays_for_its_rows(sandbox, tmp_path):
    """The forecast as a value; `pilot` asks so many rows, which are kept as results."""
    made = job(tmp_path, 40)
    assert rowmill.estimate(made).rows.to_ask == 40
    assert sandbox.books()["calls"] == 0
    told = rowmill.estimate(made, pilot=10)
    assert told.rows.settled == sandbox.books()["calls"] == 10
    assert told.sample is not None
    assert told.sample.rows == 10


def test_blocking_and_awaited_inside_a_running_loop(sandbox, tmp_path):
    """As in a notebook: the blocking call works where a loop runs, and awaited calls run beside each other."""

    async def notebook() -> tuple[int, int, int]:
        blocking = rowmill.run(job(tmp_path, output="a"), **QUIET)
        made = job(tmp_path, output="b")
        one, two = await asyncio.gather(
            rowmill.run_async(made, **QUIET), rowmill.extract_async(people(2), "c", **ASKED)
        )
        return blocking.frame().height, one.frame().height, two.height

    before = signal.getsignal(signal.SIGINT)
    assert asyncio.run(notebook()) == (5, 5, 2)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_inside_a_running_loop_drains_and_is_resumed(sandbox, tmp_path):
    """KeyboardInterrupt in a notebook's cell: calls in flight are kept, the manifest says interrupted."""
    sandbox.change(latency_ms=1_500)
    made = job(tmp_path, 40, limits={"concurrency": 4})

    async def notebook() -> None:
        main = threading.main_thread().ident
        assert main is not None

        def interrupt() -> None:
            deadline = time.monotonic() + 30
            while not sandbox.books()["calls"] and time.monotonic() < deadline:
                time.sleep(0.05)
            signal.pthread_kill(main, signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        rowmill.run(made, **QUIET)

    # A kernel's own handler raises KeyboardInterrupt in the cell; asyncio.run's would cancel the cell.
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(notebook())
    finally:
        loop.close()
    manifest = rowmill.Result.load("out").manifest
    assert manifest["termination"]["kind"] == "interrupted"
    assert manifest["ledger"]["ok"] >= 1
    sandbox.change(latency_ms=0)
    assert rowmill.run(made, **QUIET).manifest["ledger"]["ok"] == 40
    assert sandbox.books()["prompts_billed_twice"] == 0


NOTEBOOK = """
import rowmill
rows = [{"id": f"r{n}", "text": f"person {n} <b>"} for n in range(20)]
found = rowmill.extract(rows, "out", model="gemini-3-pro", id="id", prompt="Say {{ text }}")
found.height
"""
AWAITED = """
job = rowmill.Job(model="gemini-3-pro", input="out/input.jsonl", output="b", id="id", prompt="{{ text }} <i>")
(await rowmill.run_async(job, limit=7)).frame().height
"""
MISTAKEN = """
rowmill.run(rowmill.Job(model="gemini-3-pro", input="nowhere.jsonl", output="c", prompt="Say {{ text }}"))
"""


def test_a_real_notebook_shows_how_far_a_run_is_and_a_mistake_in_few_lines(sandbox, tmp_path, monkeypatch):
    """Run by nbclient: one output a cell follows the run and ends as its summary; nothing goes to stderr. A user's
    mistake is the cell's line and the message.
    """
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    sandbox.change(latency_ms=700)
    cells = [nbformat.v4.new_code_cell(code) for code in (NOTEBOOK, AWAITED, MISTAKEN)]
    seen: list[str] = []
    client = NotebookClient(
        nbformat.v4.new_notebook(cells=cells), timeout=90, kernel_name="python3", allow_errors=True,
        resources={"metadata": {"path": str(tmp_path)}},
    )  # fmt: skip
    taken = client.process_message

    def noted(message: dict[str, Any], *more: Any) -> Any:
        if message["msg_type"] == "update_display_data":
            seen.append(message["content"]["data"]["text/html"])
        return taken(message, *more)

    monkeypatch.setattr(client, "process_message", noted)
    client.execute()
    mistake = cells.pop().outputs[-1]
    assert mistake.output_type == "error"
    assert len("\n".join(mistake.traceback).splitlines()) < 10, mistake.traceback
    assert "nowhere.jsonl: no such file" in mistake.traceback[-1]
    for cell, rows in zip(cells, ("20", "7"), strict=True):
        assert [one.output_type for one in cell.outputs] == ["display_data", "execute_result"], cell.outputs
        assert f"complete: {rows} rows: {rows} ok" in cell.outputs[0].data["text/plain"]
        assert cell.outputs[0].data["text/html"].startswith("<pre>")
        assert cell.outputs[1].data["text/plain"] == rows
    assert any("<progress" in one and "rows/s" in one for one in seen)


FLAG = re.compile(r"--[a-z][a-z-]+")
# Flags of other commands, and what only developers read.
NOT_OF_A_RUN = {
    "--line",
    "--head",
    "--paper",
    "--json",
    "--last",
    "--rows",
    "--parts",
    "--all",
    "--verify",
    "--direct",
    "--help",
    "--tokenizer",
    "--init",
    "--require-forecast-under",
    "--headless",
    "--convert-to",
}


def test_every_flag_that_a_message_names_has_its_word_in_python():
    """Messages of errors and terminations name flags; each is a keyword in Python, or a whole command."""
    named = set()
    for folder in ("tasks", "schemas", "flows/text"):
        for file in (ROOT / folder).rglob("*.py"):
            if file.name not in ("python_words.py", "worker.py"):
                named |= set(FLAG.findall(re.sub(r"#.*", "", file.read_text())))
    assert {"--fresh", "--max-cost", "--sandbox"} <= named
    for flag in named - NOT_OF_A_RUN:
        told = in_python(f"use {flag} and so on")
        assert flag not in told or f"rowmill run JOB {flag}" in told, flag
        assert in_python(told) == told


def test_importing_rowmill_imports_nothing_heavy():
    """`import rowmill` brings neither Prefect nor polars; its names come when they are used."""
    program = "import sys, rowmill; print([name for name in ('prefect', 'polars', 'pyarrow') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
    assert all(hasattr(rowmill, name) for name in rowmill.__all__)
