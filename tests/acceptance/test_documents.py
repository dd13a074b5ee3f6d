"""Real documents: the sample's gold stands in its texts, and the page of receipts shows what a run finds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

import rowmill
from rowmill.schemas.evidence import Match
from rowmill.tasks.answers.locator import Quoted, locate
from rowmill.tasks.answers.source_text import SourceText
from tests.conftest import KEY, assert_balanced

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_data" / "documents"
ROWS = {"news": 58, "notices": 182}


def found_by() -> ModuleType:
    spec = importlib.util.spec_from_file_location("found", SAMPLE / "found.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("name", ROWS)
def test_the_gold_of_real_documents_stands_in_them(name):
    """Each name, year and address that people found in a text is located there, beside the licence keys, which are no words."""
    rows = [json.loads(line) for line in (SAMPLE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == ROWS[name]
    assert len({row["id"] for row in rows}) == ROWS[name]
    for row in rows:
        source = {"text": SourceText(row["text"])}
        for field in row["truth"].keys() - {"licenses"}:
            for value, span in zip(
                row["truth"][field],
                locate([Quoted(str(value)) for value in row["truth"][field]], source),
                strict=True,
            ):
                assert span is not None, (row["id"], value)
                assert span.match in (Match.EXACT, Match.NORMALIZED)


def test_the_page_shows_what_a_run_finds(tmp_path, sandboxes, monkeypatch, capsys):
    """What docs/guides/receipts.md prints is what both jobs leave: every false value found, no right one accused. The
    answers are those that come where no quotes are asked for.
    """
    known = json.loads((SAMPLE / "sandbox.json").read_text(encoding="utf-8"))
    monkeypatch.setenv("ROWMILL_BASE_URL", sandboxes(**known).base_url)
    monkeypatch.setenv("ROWMILL_API_KEY", KEY)

    def ran(name: str, folder: str, limit: int | None = None, **keys: object) -> rowmill.Result:
        told = rowmill.Job.load(SAMPLE / f"{name}.yaml").model_copy(update={"output": str(tmp_path / folder), **keys})
        return rowmill.run(told, limit=limit, progress=False, report=False)

    for name, count in ROWS.items():
        done = ran(name, name)
        assert_balanced(dict(done.manifest), done.frame())
        assert done.manifest["ledger"]["ok"] == done.manifest["field_quality"]["gold"]["rows"] == count
    found_by().main([tmp_path / name for name in ROWS])
    printed = capsys.readouterr().out
    assert f"```\n{printed}```\n" in (ROOT / "docs" / "guides" / "receipts.md").read_text(encoding="utf-8")
    kinds = {line[:17].strip(): list(map(int, line[17:].split())) for line in printed.splitlines()[11:]}
    for kind in ("another's quote", "invented", "no quote"):
        assert kinds[kind][1:] == [0, 0, kinds[kind][0], 0, 0]
    assert kinds["misread"] == [kinds["misread"][0], kinds["misread"][0], 0, 0, 0, kinds["misread"][0]]
    assert kinds["nothing"][3:] == [0, 0, 0]
    plain = ran("news", "plain", 12, evidence=False).frame()
    assert plain["output"].equals(rowmill.Result.load(tmp_path / "news").frame()["output"].head(12))
