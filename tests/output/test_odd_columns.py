"""Kept columns of any type are no hindrance to what reads the results: frames, the report, exports, the view."""

from __future__ import annotations

import csv
import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings

from rowmill.schemas.fields import FieldGold
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.output_schema import output_shape
from rowmill.tasks.export.rows import Selection, flat_table
from rowmill.tasks.export.text_files import write_csv, write_jsonl
from rowmill.tasks.fields.grading import Grader
from rowmill.tasks.output.flat_columns import flat_batch, flat_columns, plain_value
from rowmill.tasks.output.part_grades import PartGrades
from rowmill.tasks.output.python_values import python_values
from rowmill.tasks.output.results_frame import scan_results
from tests.input.test_kept_columns import arrays

BAD_TEXT = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(bytes(8) + b"\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
)
YEARS = pa.array([2**62, -(2**62)], pa.int64())
ODD = {
    "a fixed offset": (pa.array([0, None], pa.timestamp("us", "+05:30")), ["1970-01-01T05:30:00+05:30", None]),
    "offsets in a list": (pa.array([[0], None], pa.list_(pa.timestamp("s", "-12:45"))), None),
    "a zone of nowhere": (pa.array([0, None], pa.timestamp("us", "Mars/Phobos")), ["1970-01-01 00:00:00.000000Z", None]),
    "many digits": (pa.array([10**60, None], pa.decimal256(70, 2)), None),
    "a field twice": (pa.StructArray.from_arrays([pa.array([1, 2]), pa.array(["a", None])], names=["x", "x"]), [{"x": 1, "x_2": "a"}, {"x": 2, "x_2": None}]),
    "keys that are structs": (pa.array([[({"a": 1}, "x")], None], pa.map_(pa.struct([("a", pa.int64())]), pa.string())), [[[{"a": 1}, "x"]], None]),
    "keys that stand twice": (pa.array([[("a", 1), ("a", 2)], [("b", 3)]], pa.map_(pa.string(), pa.int8())), [[["a", 1], ["a", 2]], {"b": 3}]),
    "years beyond": (YEARS.view(pa.timestamp("us")), ["<value out of range: 4611686018427387904>", "<value out of range: -4611686018427387904>"]),
    "days beyond": (pa.array([2**31 - 1, None], pa.int32()).view(pa.date32()), None),
    "text that is none": (BAD_TEXT, ["", "\ufffd\ufffd"]),
}  # fmt: skip


def part(folder, column):
    results = folder / "results"
    results.mkdir(exist_ok=True)
    count = len(column)
    pq.write_table(
        pa.table({"row_index": range(count), "col": column, "status": ["ok"] * count}), results / "part-000000.parquet"
    )
    return results


@pytest.mark.parametrize("case", ODD)
def test_an_odd_column_is_in_nobodys_way(tmp_path, case):
    """A frame is made of it, and Python's values, where it has none as text; other columns are read past it."""
    column, values = ODD[case]
    results = part(tmp_path, column)
    assert scan_results(results).select("status").collect().height == 2
    assert scan_results(results).filter(pl.col("row_index") == 1).select("row_index").collect().item() == 1
    told = python_values(pq.read_table(results / "part-000000.parquet").column("col"))
    assert len(told) == 2
    if values is not None:
        assert [one.isoformat() if hasattr(one, "isoformat") else one for one in told] == values
    if case != "text that is none":
        frame = scan_results(results).collect()
        assert frame["col"].null_count() == column.null_count
        assert scan_results(results).head(1).collect().height == 1


def test_a_part_that_is_odd_stands_beside_one_that_is_not(tmp_path):
    """The same instants, whichever zone a part tells them in."""
    results = part(tmp_path, pa.array([0, 1], pa.timestamp("us", "+05:30")))
    pq.read_table(results / "part-000000.parquet")
    pq.write_table(pa.table({"row_index": [2], "status": ["ok"], "new": [5]}), results / "part-000001.parquet")
    frame = scan_results(results).select("row_index", "col", "new").collect()
    assert frame["row_index"].to_list() == [0, 1, 2]
    assert frame["col"].dt.epoch("us").to_list() == [0, 1, None]
    assert frame["new"].to_list() == [None, None, 5]


@settings(suppress_health_check=list(HealthCheck), max_examples=40)
@given(arrays())
def test_whatever_is_kept_can_be_read(tmp_path_factory, array):
    """Frames, Python's values and flat tables of any column that Parquet holds."""
    folder = tmp_path_factory.mktemp("odd")
    try:
        pq.write_table(pa.table({"col": array}), folder / "in.parquet")
        # A part is written of what was read.
        results = part(folder, pq.read_table(folder / "in.parquet").column("col").combine_chunks())
    except (pa.ArrowException, ValueError, OSError):
        return
    assert scan_results(results).collect().height == len(array), array.type
    table = pq.read_table(results / "part-000000.parquet")
    assert len(python_values(table.column("col"))) == len(array)
    columns = flat_columns([table.schema])
    for batch in table.to_batches():
        for column in flat_batch(batch, columns).columns:
            encode_json([plain_value(value) for value in python_values(column)])
    json.dumps([repr(value) for value in python_values(table.column("col"))])


def leaves(array: pa.Array) -> list[pa.Array]:
    """The values below the fields of structs, in their order, whatever the fields are named."""
    if pa.types.is_struct(array.type) and array.type.num_fields:
        return [leaf for field in array.flatten() for leaf in leaves(field)]
    return [array]


FIELD_TWICE = pa.StructArray.from_arrays([pa.array([1, 2]), pa.array(["a", None])], names=["x", "x"])


@settings(suppress_health_check=list(HealthCheck), max_examples=40)
@given(arrays())
@example(FIELD_TWICE)
@example(pa.array([float("nan"), float("-inf")]))
@example(pa.array([[float("nan"), None], None]))
@example(BAD_TEXT)
def test_no_export_loses_a_value(tmp_path_factory, array):
    """Whatever is kept: a cell of an export is null, or empty, where the value is null, and nowhere else."""
    folder = tmp_path_factory.mktemp("exports")
    try:
        pq.write_table(pa.table({"col": array}), folder / "in.parquet")
        column = pq.read_table(folder / "in.parquet").column("col").combine_chunks()
        part(folder, column)
    except (pa.ArrowException, ValueError, OSError):
        return
    held = [leaf.is_valid().to_pylist() for leaf in leaves(column)]
    table = flat_table(folder, Selection.ALL)
    assert len(table.schema) == len(held) + 2, column.type
    write_jsonl(folder / "rows.jsonl", table)
    rows = [list(json.loads(line).values()) for line in (folder / "rows.jsonl").read_text("utf-8").split("\n")[:-1]]
    assert [[row[1 + at] is not None for row in rows] for at in range(len(held))] == held, column.type
    write_csv(folder / "rows.csv", flat_table(folder, Selection.ALL))
    with (folder / "rows.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = list(csv.reader(file))[1:]
    for at, leaf in enumerate(leaves(column)):
        told = python_values(leaf)
        for cell, value in zip(cells, told, strict=True):
            assert (cell[1 + at] != "") == (value not in (None, "", b"")), column.type


GRADER = Grader(FieldGold(column="col"), output_shape({"type": "object", "properties": {"x": {"type": "integer"}}}))


@settings(suppress_health_check=list(HealthCheck), max_examples=40)
@given(arrays())
@example(FIELD_TWICE)
def test_gold_of_any_type_is_read_or_named(array):
    """A column that holds no outputs costs no run: its cells are named as such, and other fields of it are judged."""
    outcomes = [Outcome(f"r{n}", n, Status.OK, output_text='{"x": 1}') for n in range(len(array))]
    grades = PartGrades(GRADER)
    assert len(grades.column(outcomes, pa.table({"col": array}))) == len(array)
    if array is FIELD_TWICE:
        assert [one and one["x"] for one in grades.column(outcomes, pa.table({"col": array})).to_pylist()] == [
            True,
            False,
        ]
