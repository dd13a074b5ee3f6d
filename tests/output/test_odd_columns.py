"""Kept columns of any type are no hindrance to what reads the results: frames, the report, exports, the view."""

from __future__ import annotations

import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from rowmill.schemas.json_text import encode_json
from rowmill.tasks.output.flat_columns import flat_batch, flat_columns, plain_value
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
    "a field twice": (pa.StructArray.from_arrays([pa.array([1, 2]), pa.array(["a", None])], names=["x", "x"]), [{"x": "a"}, {"x": None}]),
    "keys that are structs": (pa.array([[({"a": 1}, "x")], None], pa.map_(pa.struct([("a", pa.int64())]), pa.string())), [[[{"a": 1}, "x"]], None]),
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


@settings(suppress_health_check=list(HealthCheck), max_examples=80)
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
