"""`rowmill export`: an output's rows as tables that spreadsheets, databases and programs open."""

from __future__ import annotations

import csv
import json
from decimal import Decimal

import duckdb
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowmill.tasks.export.rows import Table
from rowmill.tasks.export.text_files import write_csv, write_jsonl
from rowmill.tasks.export.workbook import CHARS_MOST, write_xlsx
from rowmill.tasks.output.flat_columns import flat_batch, flat_columns
from tests.conftest import Bench

NESTED = {
    "type": "object", "additionalProperties": False, "required": ["who", "tags"],
    "properties": {
        "who": {"type": "object", "additionalProperties": False, "required": ["name", "age"],
                "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}  # fmt: skip
FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]


@pytest.fixture(scope="module")
def output(tmp_path_factory, ran):
    """The output of a run with nested answers, hostile kept text and rows that failed."""
    return ran(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def ran():
    from rowmill.sandbox.process import spawn
    from rowmill.sandbox.settings import Settings

    def run(folder):
        bench = Bench(folder)
        bench.rows([
            {"id": f"r{n}", "text": f"person {n} Ä" + ("[[fault:invalid_request]]" if n == 3 else ""),
             "note": FORMULAS[n % len(FORMULAS)]} for n in range(12)
        ])  # fmt: skip
        bench.job(id="id", schema=NESTED, keep=["note", "text"])
        with spawn(Settings()) as sandbox:
            assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-q").code == 3
        return bench

    return run


def exported(bench: Bench, name: str, *flags: str) -> str:
    ended = bench.run("", "export", "out", name, *flags)
    assert ended.code == 0, ended.err
    return ended.out


def test_the_four_kinds_hold_the_same_rows(output):
    """CSV, JSON lines, Excel and Parquet: flat columns named by their path, the same values, lists as JSON text."""
    for ending in ("csv", "jsonl", "xlsx", "parquet"):
        assert "wrote 12 rows" in exported(output, f"all.{ending}")
    folder = output.folder
    flat = pl.read_parquet(folder / "all.parquet")
    assert {"row_id", "note", "status", "output.who.name", "output.who.age", "output.tags", "cost_usd"} <= set(
        flat.columns
    )
    assert flat["output.who.age"].dtype == pl.Int64
    results = output.results()
    assert flat["cost_usd"].sum() == results["cost_usd"].sum()
    assert flat["output.who.name"].to_list() == results["output"].struct.field("who").struct.field("name").to_list()
    tags = [None if text is None else json.loads(text) for text in flat["output.tags"]]
    assert tags == results["output"].struct.field("tags").to_list()
    lines = [json.loads(line, parse_float=Decimal) for line in (folder / "all.jsonl").read_text().splitlines()]
    assert [line["output.who.age"] for line in lines] == flat["output.who.age"].to_list()
    assert sum(line["cost_usd"] for line in lines) == results["cost_usd"].sum()
    assert list(lines[0]) == flat.columns
    table = pl.read_csv(folder / "all.csv", schema_overrides={"cost_usd": pl.Decimal(18, 12)})
    assert table.columns == flat.columns
    assert table["output.who.age"].to_list() == flat["output.who.age"].to_list()
    assert table["cost_usd"].sum() == results["cost_usd"].sum()
    sheet = openpyxl.load_workbook(folder / "all.xlsx").active
    assert [cell.value for cell in sheet[1]] == flat.columns
    ages = [cell.value for cell in sheet[get_letter(flat.columns, "output.who.age")]][1:]
    assert ages == flat["output.who.age"].to_list()


def get_letter(columns: list[str], name: str) -> str:
    return openpyxl.utils.get_column_letter(columns.index(name) + 1)


def test_no_cell_is_a_formula(output):
    """Text that a spreadsheet would run stays text: behind an apostrophe in CSV, as text in Excel."""
    exported(output, "f.csv")
    exported(output, "f.xlsx")
    with open(output.folder / "f.csv", newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["note"] for row in rows[:6]] == ["'" + text for text in FORMULAS]
    assert not [cell for row in rows for cell in row.values() if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    sheet = openpyxl.load_workbook(output.folder / "f.xlsx").active
    assert {cell.data_type for row in sheet for cell in row} <= {"s", "n", "b", "d", "inlineStr"}
    assert sheet[get_letter([cell.value for cell in sheet[1]], "note")][1].value == "=1+1"


def test_excel_sees_that_a_csv_is_utf_8(output):
    """A byte order mark comes first where anything is not ASCII; polars, pandas and DuckDB read past it."""
    exported(output, "b.csv")
    path = output.folder / "b.csv"
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert pl.read_csv(path).columns[0] == pd.read_csv(path).columns[0] == "row_id"
    assert duckdb.sql(f"select row_id from '{path}' limit 1").fetchall() == [("r0",)]


@pytest.mark.parametrize(("flag", "ids"), [
    ("--ok", [f"r{n}" for n in range(12) if n != 3]), ("--all", [f"r{n}" for n in range(12)]), ("--review", ["r3"]),
])  # fmt: skip
def test_which_rows(output, flag, ids):
    """--ok, --all and --review choose rows by how they ended."""
    exported(output, "some.jsonl", flag)
    lines = (output.folder / "some.jsonl").read_text().splitlines()
    assert [json.loads(line)["row_id"] for line in lines] == ids


@pytest.mark.parametrize(("file", "words"), [
    ("x.txt", ".csv, .jsonl, .xlsx, .parquet"), ("x.json", ".jsonl"), ("out/results/x.parquet", "results' own"),
    ("no/such/x.csv", "cannot be written"),
])  # fmt: skip
def test_what_cannot_be_written_is_told(output, file, words):
    """An unknown ending, Label Studio's without labels, the results' own folder: exit 2 in one line."""
    ended = output.run("", "export", "out", file)
    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_an_output_without_rows_has_its_header(bench, sandboxes):
    """An empty input gives a table with columns and no rows; an output without a part says that there is none."""
    bench.rows([])
    bench.job(id="id", schema=NESTED)
    bench.run(sandboxes().base_url, "run", "job.yaml", "--direct", "-q")
    assert "wrote 0 rows" in exported(bench, "e.csv")
    assert (bench.folder / "e.csv").read_text().startswith('"row_id"')
    for part in (bench.folder / "out/results").iterdir():
        part.unlink()
    ended = bench.run("", "export", "out", "e.csv")
    assert ended.code == 2
    assert "no results here yet" in ended.err


def test_labels_in_every_kind(bench, sandboxes):
    """Labels are flat tables of all columns like any output, also where nothing is to review; --review is the sheet to
    fill in, .json Label Studio's tasks.
    """
    bench.rows([{"id": f"r{n}", "text": f"=ticket {n}"} for n in range(6)])
    bench.job(id="id", prompt="{{ text }}", label={"labels": ["a", "b"], "votes": 3, "review_below": 1})
    bench.run(sandboxes(right=0.5).base_url, "label", "job.yaml", "--direct", "-q")
    exported(bench, "review.csv", "--review")
    sheet = pl.read_csv(bench.folder / "review.csv")
    assert sheet.columns == ["row_id", "text", "suggested", "agreement", "votes", "why", "gold"]
    assert set(sheet["text"]) <= {f"'=ticket {n}" for n in range(6)}
    exported(bench, "ok.csv", "--ok")
    exported(bench, "all.parquet")
    flat = pl.read_parquet(bench.folder / "all.parquet")
    assert flat.columns == pl.read_csv(bench.folder / "ok.csv").columns
    assert flat["label"].to_list() == bench.results()["label"].to_list()
    assert len(json.loads(flat["votes"][0])) >= 2
    exported(bench, "review.xlsx", "--review")
    lines = (bench.folder / "out/review.jsonl").read_text().splitlines()
    assert openpyxl.load_workbook(bench.folder / "review.xlsx").active.max_row == len(lines) + 1 == sheet.height + 1
    (bench.folder / "out/review.jsonl").unlink()
    for flags in ((), ("--all",)):
        exported(bench, "all.csv", *flags)
        assert pl.read_csv(bench.folder / "all.csv")["label"].to_list() == bench.results()["label"].to_list()
        exported(bench, "all.json", *flags)
        assert len(json.loads((bench.folder / "all.json").read_text())) == 6


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.fixed_dictionaries({
    "row_id": TEXT,
    "n": st.none() | st.integers(-(2**63), 2**63 - 1),
    "x": st.none() | st.floats(),
    "flag": st.none() | st.booleans(),
    "output": st.none() | st.fixed_dictionaries({
        "who": st.none() | st.fixed_dictionaries({"a.b": st.none() | TEXT, "": st.none() | TEXT}),
        "tags": st.none() | st.lists(st.none() | TEXT, max_size=3),
    }),
    "output.tags": st.none() | TEXT,
})  # fmt: skip
SCHEMA = pa.schema([
    ("row_id", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("flag", pa.bool_()),
    ("output", pa.struct([("who", pa.struct([("a.b", pa.string()), ("", pa.string())])), ("tags", pa.list_(pa.string()))])),
    ("output.tags", pa.string()),
])  # fmt: skip


def table_of(rows: list[dict]) -> Table:
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    columns = flat_columns([SCHEMA])
    return Table(flat_batch(batch, columns).schema, iter([flat_batch(batch, columns)]))


@settings(max_examples=40)
@given(rows=st.lists(VALUES, max_size=4))
def test_any_value_is_told_and_no_two_columns_share_a_name(tmp_path_factory, rows):
    """Whatever rows hold: as many rows, unique names, JSON that reads back, cells that are no formula."""
    folder = tmp_path_factory.mktemp("any")
    names = table_of(rows).schema.names
    assert len(set(names)) == len(names) == 8
    assert write_jsonl(folder / "a.jsonl", table_of(rows)) == len(rows)
    told = [json.loads(line) for line in (folder / "a.jsonl").read_bytes().split(b"\n")[:-1]]
    assert [one["n"] for one in told] == [row["n"] for row in rows]
    assert [one["output.tags"] for one in told] == [row["output.tags"] for row in rows]
    lists = [None if row["output"] is None else row["output"]["tags"] for row in rows]
    assert [None if one['output["tags"]'] is None else json.loads(one['output["tags"]']) for one in told] == lists
    assert write_csv(folder / "a.csv", table_of(rows)) == len(rows)
    with open(folder / "a.csv", newline="", encoding="utf-8-sig") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert len(cells) == 8 * (len(rows) + 1)
    assert not [cell for cell in cells if cell[:1] in ("=", "@", "\t", "\r")]
    assert write_xlsx(folder / "a.xlsx", table_of(rows)) == (len(rows), 0)
    sheet = openpyxl.load_workbook(folder / "a.xlsx").active
    assert sheet.max_row == len(rows) + 1
    assert not [cell for row in sheet for cell in row if cell.data_type in ("f", "e")]


@pytest.mark.parametrize("amount", ["0E-12", "0.000000000001", "-0.00000012", "123.000000000001"])
def test_no_decimal_has_an_exponent_in_any_kind_of_file(tmp_path, amount):
    """Nothing and small sums stand with their places, alone and within lists, as numbers that programs read."""
    value, plain = Decimal(amount), f"{Decimal(amount):.12f}"
    schema = pa.schema([("cost", pa.decimal128(18, 12)), ("many", pa.list_(pa.decimal128(18, 12)))])
    columns = flat_columns([schema])

    def table() -> Table:
        batch = pa.RecordBatch.from_pylist([{"cost": value, "many": [value, None]}, {}], schema=schema)
        return Table(flat_batch(batch, columns).schema, iter([flat_batch(batch, columns)]))

    write_csv(tmp_path / "a.csv", table())
    many = json.dumps(f'["{plain}",null]').replace('\\"', '""')
    assert (tmp_path / "a.csv").read_text() == f'"cost","many"\n{plain},{many}\n,\n'
    write_jsonl(tmp_path / "a.jsonl", table())
    assert (tmp_path / "a.jsonl").read_text().startswith(f'{{"cost":{plain},')
    write_xlsx(tmp_path / "a.xlsx", table())
    cell = openpyxl.load_workbook(tmp_path / "a.xlsx").active["A2"]
    assert (cell.data_type, cell.value) == ("n", pytest.approx(float(value)))
    assert cell.number_format == "0.00##########"


def test_a_text_longer_than_a_cell_is_cut_and_counted(tmp_path):
    """Excel holds 32,767 characters: what is longer is cut, and how many cells were is told."""
    row = {"row_id": "x" * 40_000, "n": 2**60, "x": None, "flag": None, "output": None, "output.tags": "_x0041_\x01"}
    assert write_xlsx(tmp_path / "a.xlsx", table_of([row])) == (1, 1)
    cells = [cell.value for cell in openpyxl.load_workbook(tmp_path / "a.xlsx").active[2]]
    assert len(cells[0]) == CHARS_MOST
    assert cells[1] == str(2**60)


def test_parts_with_other_columns_are_one_table(tmp_path):
    """Parts that an earlier version wrote, or that keep other columns: every column, null where a part has none."""
    results = tmp_path / "results"
    results.mkdir()
    parts = [
        {"row_id": ["a"], "status": ["ok"], "k": [1], "output": [{"n": 1}]},
        {"row_id": ["b"], "status": ["ok"], "k": ["x"], "output": [{"n": 2.5, "m": "y"}], "more": [True]},
    ]
    for number, part in enumerate(parts):
        pq.write_table(pa.table(part), results / f"part-{number:06d}.parquet")
    from rowmill.tasks.export.rows import Selection, flat_table

    table = flat_table(tmp_path, Selection.ALL)
    rows = [row for batch in table.batches for row in batch.to_pylist()]
    assert rows == [
        {"row_id": "a", "status": "ok", "k": "1", "output.n": 1.0, "output.m": None, "more": None},
        {"row_id": "b", "status": "ok", "k": "x", "output.n": 2.5, "output.m": "y", "more": True},
    ]
