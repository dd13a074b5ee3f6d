"""The view of an output that a run is writing."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest

import rowmill
from rowmill.tasks.view.output import ViewedOutput
from tests.gateways import Ask, Reply, serving

ROWS = 12
ANSWER = {
    "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False
}  # fmt: skip


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of the time that takes."""
    monkeypatch.setattr("rowmill.tasks.view.open_rows.EVERY_S", 0)
    monkeypatch.setattr("rowmill.tasks.view.open_rows.SHARE", 1e9)


@pytest.mark.parametrize("labels", [False, True])
def test_what_is_settled_so_far_is_seen_while_the_run_goes_on(tmp_path: Path, monkeypatch, labels):
    """Rows with answers, kept columns and prompts before a part is written; the run is left alone, and once it has
    ended its own part is what is seen.
    """
    out = tmp_path / "out"
    seen: list[tuple[int, dict, dict]] = []
    views: list[ViewedOutput] = []

    def script(ask: Ask) -> Reply:
        if "person 8" in ask.request:
            views.append(ViewedOutput(out))
        if views:
            query = views[0].query(sort="-weight")
            total, rows = views[0].page(query, 0, 50)
            seen.append((total, rows[0], views[0].about()))
        return Reply(text=json.dumps({"label": "x"} if labels else {"n": 1}))

    (tmp_path / "rows.csv").write_text("id,text,weight\n" + "".join(f"r{n},person {n},{n}\n" for n in range(ROWS)))
    with serving(script) as gateway:
        monkeypatch.setenv("ROWMILL_BASE_URL", gateway.url)
        monkeypatch.setenv("ROWMILL_API_KEY", "sk-tests-0123456789abcdef")
        answers = {"label": {"labels": ["x", "y"]}} if labels else {"schema": ANSWER}
        job = rowmill.Job(
            model="gemini-3-pro", input=tmp_path / "rows.csv", output=out, id="id", prompt="Who is {{ text }}?",
            keep=["text", "weight"], limits={"concurrency": 1}, **answers,
        )  # fmt: skip
        result = rowmill.run(job, progress=False, report=False)
    assert result.manifest["ledger"]["ok"] == ROWS
    totals = [total for total, _, _ in seen]
    assert totals == sorted(totals)
    assert 6 <= totals[0] < totals[-1] < ROWS
    _, row, about = seen[-1]
    assert about["state"] == "running"
    assert about["settled"] == totals[-1]
    assert len({told["version"] for _, _, told in seen}) == len(set(totals))
    assert (row["row_id"], row["weight"], row["text"]) == ("r10", "10", "person 10") or totals[-1] < ROWS - 1
    assert "Who is person" in row["prompt"]
    assert row["label"] == "x" if labels else row["output"] == {"n": 1}
    view = views.pop()
    scratch = view._open_rows._scratch.root
    assert view.page(view.query(), 0, 50)[0] == ROWS
    assert view.about()["state"] == "ended"
    assert [part.parent for part in view.table.parts] == [out / "results"]
    assert not list(scratch.rglob("*.parquet"))
    del view
    gc.collect()
    assert not scratch.exists()


def test_what_is_being_written_at_this_moment_is_no_damage(tmp_path, monkeypatch):
    """A journal that ends in the middle of a line, or is gone again, shows what was there before."""
    out = tmp_path / "out"
    found = []

    def script(ask: Ask) -> Reply:
        if "person 5" in ask.request:
            segment = next((out / "journal").glob("shard-*.jsonl"))
            view, content = ViewedOutput(out), segment.read_bytes()
            found.append(view.page(view.query(), 0, 9)[0])
            torn = tmp_path / "torn/journal"
            torn.mkdir(parents=True)
            (torn.parent / "run.json").write_bytes((out / "run.json").read_bytes())
            copy = torn / segment.name
            copy.write_bytes(content.rstrip(b"\0")[:-20])
            view = ViewedOutput(torn.parent)
            found.append(view.page(view.query(), 0, 9)[0])
            copy.write_bytes(b"damaged\n" + content)
            found.append(view.page(view.query(), 0, 9)[0])
            copy.unlink()
            found.append(view.page(view.query(), 0, 9)[0])
        return Reply(text="fine")

    rows = [{"id": f"r{n}", "text": f"person {n}"} for n in range(6)]
    with serving(script) as gateway:
        monkeypatch.setenv("ROWMILL_BASE_URL", gateway.url)
        monkeypatch.setenv("ROWMILL_API_KEY", "sk-tests-0123456789abcdef")
        rowmill.extract(
            rows, out, model="gemini-3-flash", id="id", prompt="{{ text }}", limits={"concurrency": 1}, progress=False
        )
    assert found[0] >= 3
    assert found[1] in (found[0], found[0] - 1)
    assert found[2:] == [found[1], 0]
