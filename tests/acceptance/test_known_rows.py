"""Rows that a part stands for are not read again, and nothing is known less for it."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

import rowmill
from rowmill.schemas.errors import InputError
from rowmill.tasks.input import shard_cut, survey
from tests.conftest import KEY, assert_balanced

SHARD, ROWS = 4, 40


@pytest.fixture
def judged(monkeypatch, tmp_path, gateways) -> list[int]:
    """Positions of the rows that were read to survey the input."""
    monkeypatch.setattr(shard_cut, "SMALL_SHARD", SHARD)
    monkeypatch.setattr(survey, "SAMPLE_ROWS", 2)
    monkeypatch.setenv("ROWMILL_API_KEY", KEY)
    monkeypatch.setenv("ROWMILL_BASE_URL", gateways().url)
    monkeypatch.chdir(tmp_path)
    found: list[int] = []
    judge = survey.judge

    def noted(line: Any, index: int, *rest: Any, **more: Any) -> Any:
        found.append(index)
        return judge(line, index, *rest, **more)

    monkeypatch.setattr(survey, "judge", noted)
    return found


def row(n: int, **more: Any) -> dict[str, Any]:
    return {"id": f"r{n}", "text": f"text {n}", **more}


def run(rows: list[dict[str, Any]], **keys: Any) -> tuple[dict[str, Any], pl.DataFrame]:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in rows]
    with open("rows.jsonl", "w") as file:
        file.writelines(line + "\n" for line in lines)
    told = {"model": "gemini-3-pro", "input": "rows.jsonl", "output": "out", "prompt": "Say {{ text }}", **keys}
    result = rowmill.run(rowmill.Job(**told), progress=False, report=False)
    return result.manifest, result.frame().sort("row_index")


def test_rows_that_a_part_stands_for_are_not_read_again(judged):
    """Of an input that grew, only its first rows (the sample) and its new ones are read."""
    rows = [row(n) for n in range(ROWS)]
    run(rows, id="id")
    judged.clear()
    grown = [*rows, row(ROWS)]
    assert_balanced(*run(grown, id="id"))
    assert judged == [0, 1, 2, 3, ROWS]
    judged.clear()
    edited = [*grown[:9], row(9, text="edited"), *grown[10:]]
    assert_balanced(*run(edited, id="id"))
    assert judged == [0, 1, 2, 3, 8, 9, 10, 11]


def test_an_id_that_an_unread_row_has_stands_twice(judged):
    """A new row with the id of a row that was not read again is refused before anything is sent."""
    rows = [row(n) for n in range(ROWS)]
    run(rows, id="id")
    with pytest.raises(InputError, match="row 41 has the id of row 24"):
        run([*rows, row(23, text="another")], id="id")


VALUES: dict[str, list[Any]] = {
    "whole numbers": [1, 2, 3],
    "a fraction late": [1, 2, 0.5],
    "nothing, then a number": [None, None, 7],
    "text late": [1, 2, "x"],
    "beyond what a double holds": [1, 2, 2**60],
    "a fraction beside it": [0.5, 2, 2**60],
    "truth": [None, True, False],
}


def test_kept_columns_are_as_if_all_rows_were_read(judged):
    """The types and values of kept columns after an append are those of a fresh run over the same input."""
    rows = [
        row(n, **{name: values[0 if n < 12 else 1 if n < 30 else 2] for name, values in VALUES.items()})
        for n in range(ROWS)
    ]
    keep = list(VALUES)
    run(rows, id="id", keep=keep)
    for more in ({}, dict.fromkeys(VALUES, "text")):
        rows = [*rows, row(len(rows), **more)]
        _, found = run(rows, id="id", keep=keep)
        _, fresh = run(rows, id="id", keep=keep, output=f"fresh{len(rows)}")
        assert found.select(keep).equals(fresh.select(keep))
        assert found.select(keep).schema == fresh.select(keep).schema


def test_a_column_that_only_a_late_row_has_is_known(judged):
    """A kept column that no early row has is no unknown column because the rows that have it are not read."""
    rows = [row(n, **({"late": n} if n == 37 else {})) for n in range(ROWS)]
    run(rows, id="id", keep=["late"])
    _, found = run([*rows, row(ROWS)], id="id", keep=["late"])
    assert found["late"].to_list() == [37 if n == 37 else None for n in range(ROWS + 1)]


def test_unreadable_rows_of_a_part_have_no_id(judged):
    """A line that was no row stays one, and its place is nobody's id."""
    rows: list[Any] = [row(n) for n in range(ROWS)]
    rows[20] = "no json"
    first = rowmill_rows(rows)
    assert first["status"].to_list().count("unreadable") == 1
    again = rowmill_rows([*rows, {"id": "#20", "text": "an id like a place"}])
    assert again["status"].to_list() == [*first["status"].to_list(), "ok"]


def rowmill_rows(rows: list[Any]) -> pl.DataFrame:
    try:
        return run(rows, id="id")[1]
    except rowmill.Stopped:
        return pl.read_parquet("out/results/*.parquet").sort("row_index")
