"""Rows that stand elsewhere in the input: they keep their answers, nothing is paid again and nothing of them rendered."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import rowmill
from rowmill.tasks.input import shard_cut, survey
from rowmill.tasks.run.row_requests import RowRequests
from tests.conftest import KEY, assert_balanced
from tests.gateways import answer_to

Rows = list[dict[str, Any]]
ROWS, SHARD = 41, 4


def new(name: str) -> dict[str, Any]:
    return {"id": name, "text": f"something new: {name}"}


# What is done to the rows, and how many are to be asked.
CHANGES: dict[str, tuple[Callable[[Rows], Rows], int]] = {
    "put at the top": (lambda rows: [new("top"), *rows], 1),
    "taken out": (lambda rows: rows[:6] + rows[7:], 0),
    "turned": (lambda rows: rows[::-1], 0),
    "shuffled": (lambda rows: random.Random(5).sample(rows, len(rows)), 0),
    "here and there": (lambda rows: [one for n, row in enumerate(rows) for one in ([new(f"n{n}")] * (n % 7 == 3) + [row])], 6),
}  # fmt: skip


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Shards of four rows, and the folder of a job."""
    monkeypatch.setattr(shard_cut, "SMALL_SHARD", SHARD)
    monkeypatch.setenv("ROWMILL_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def planned(monkeypatch) -> list[int]:
    """Positions of the rows that were made into requests to be settled."""
    found: list[int] = []
    plan = RowRequests.plan

    def noted(self: RowRequests, rows: Any) -> Any:
        found.extend(row.index for row in rows)
        return plan(self, rows)

    monkeypatch.setattr(RowRequests, "plan", noted)
    return found


def run(rows: Rows, **keys: Any) -> tuple[dict[str, Any], pl.DataFrame]:
    pl.DataFrame(rows).write_ndjson("rows.jsonl")
    told = {"model": "gemini-3-pro", "input": "rows.jsonl", "output": "out", "prompt": "Say {{ text }}", **keys}
    result = rowmill.run(rowmill.Job(**told), progress=False, report=False)
    return result.manifest, result.frame().sort("row_index")


def assert_right(rows: Rows, manifest: dict[str, Any], frame: pl.DataFrame, *, named: bool) -> None:
    assert frame["row_index"].to_list() == list(range(len(rows)))
    assert frame["row_id"].to_list() == [row["id"] if named else str(place) for place, row in enumerate(rows)]
    assert frame["response_text"].to_list() == [answer_to(f"Say {row['text']}") for row in rows]
    assert_balanced(manifest, frame)


@pytest.mark.parametrize(
    ("change", "named"), [*((change, True) for change in CHANGES), ("put at the top", False), ("turned", False)]
)
def test_moved_rows_keep_their_answers(small, gateways, monkeypatch, planned, change, named):
    """Whatever was done to the order of the rows, each holds its own answer, its cost and its place; only new rows are
    asked, and only they and those that cannot be known by their line are rendered.
    """
    gateway = gateways()
    monkeypatch.setenv("ROWMILL_BASE_URL", gateway.url)
    rows = [{"id": f"r{n}", "text": f"text {n}"} for n in range(ROWS)]
    keys: dict[str, Any] = {"id": "id", "keep": ["text"]} if named else {}
    run(rows, **keys)
    changed, asked = CHANGES[change][0](rows), CHANGES[change][1]
    planned.clear()
    assert_right(changed, *run(changed, **keys), named=named)
    assert len(gateway.asks) == ROWS + asked
    assert gateway.paid_again() == 0
    if change != "shuffled":
        assert len(planned) == asked
    # Moved once more, and back.
    assert_right(rows, *run(rows, **keys), named=named)
    assert len(gateway.asks) == ROWS + asked
    assert not list((small / "out" / "journal").glob("former/*.parquet"))


def test_moved_rows_that_share_an_answer(small, gateways, monkeypatch):
    """Rows that ask the same are one call wherever they come to stand, and the call's cost stands in one of them."""
    gateway = gateways()
    monkeypatch.setenv("ROWMILL_BASE_URL", gateway.url)
    rows = [{"id": f"r{n}", "text": f"text {n % 5}"} for n in range(ROWS)]
    for changed in (rows, rows[::-1], [new("top"), *rows], rows[3:], random.Random(1).sample(rows, ROWS)):
        manifest, frame = run(changed, id="id")
        assert_right(changed, manifest, frame, named=True)
        owners = dict(frame.filter(pl.col("reused_from").is_null()).select("response_text", "row_id").iter_rows())
        assert len(owners) == frame["response_text"].n_unique()
        copies = frame.filter(pl.col("reused_from").is_not_null())
        assert [owners[text] for text in copies["response_text"]] == copies["reused_from"].to_list()
    assert len(gateway.asks) == 6


def test_rows_beyond_the_checked_ones_are_compared_too(small, gateways, monkeypatch):
    """A row that is edited, or put at the top, is seen however far down the parts of former runs begin."""
    gateway = gateways()
    monkeypatch.setenv("ROWMILL_BASE_URL", gateway.url)
    monkeypatch.setattr(survey, "CHECKED_ROWS", 2 * SHARD)
    rows = [{"id": f"r{n}", "text": f"text {n}"} for n in range(ROWS)]
    run(rows, id="id")
    edited = [*rows[:30], {**rows[30], "text": "edited"}, *rows[31:]]
    assert_right(edited, *run(edited, id="id"), named=True)
    shifted = [new("top"), *edited]
    assert_right(shifted, *run(shifted, id="id"), named=True)
    assert len(gateway.asks) == ROWS + 2
