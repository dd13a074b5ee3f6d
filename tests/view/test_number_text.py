"""Columns of text that are numbers are sorted and compared as numbers, however a country writes them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.view.number_text import read_as_numbers
from rowmill.tasks.view.query import parsed
from rowmill.tasks.view.table import ResultsTable


def table_of(root: Path, *parts: list[str | None]) -> ResultsTable:
    for number, texts in enumerate(parts):
        ids = [f"{number}-{at}" for at in range(len(texts))]
        table = pa.table({"row_id": ids, "n": pa.array(texts, pa.string())})
        pq.write_table(table, root / f"part-{number:06d}.parquet")
    return ResultsTable(result_parts(root))


def found(table: ResultsTable, **asked) -> list[int]:
    query = parsed(table.columns, lambda column: read_as_numbers(table, column), **asked)
    return query.positions(table).tolist()


@pytest.mark.parametrize(
    ("parts", "ascending", "above_9"),
    [
        ((["10", "9", None], ["100", "", "-1"]), [5, 1, 0, 3, 2, 4], [0, 3]),
        ((["12,50", "9,5"], ["1.234,00"]), [1, 0, 2], [0, 1, 2]),
        ((["12.50", "9.5"], ["1,234.00"]), [1, 0, 2], [0, 1, 2]),
        (([" 2e3 ", "+10", ".5"],), [2, 1, 0], [0, 1]),
        # One that is no number, or that may be read in two ways: as text, and `>9` is a text too.
        ((["10", "9", "n/a"],), [0, 1, 2], []),
        ((["1,234", "12"],), [0, 1], []),
        (([None, ""],), [1, 0], []),
    ],
)
def test_a_column_of_numbers_is_sorted_and_compared_by_them(tmp_path, parts, ascending, above_9):
    """All of it in one form, over all parts; empty cells stand last and meet no comparison."""
    table = table_of(tmp_path, *parts)
    assert found(table, sort="n") == ascending
    assert found(table, filters=["n:>9"]) == above_9


def test_what_is_the_same_text_is_still_found_as_text(tmp_path):
    """`007` is not `7`, and a part of a number is found in it."""
    table = table_of(tmp_path, ["007", "7", "70"])
    assert found(table, filters=["n:7"]) == [1]
    assert found(table, contains=["n:7"]) == [0, 1, 2]
    assert found(table, sort="-n") == [2, 0, 1]
    assert found(table, filters=["-n:<8"]) == [2]
