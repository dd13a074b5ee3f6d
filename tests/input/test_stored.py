"""What cannot be read twice is stored once in the output, and read again as it was; rows come with their types."""

from __future__ import annotations

import fcntl
import gzip
import io
import json
import os
import sqlite3
import stat
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import polars as pl
import pytest

from rowmill.schemas.errors import InputError, JobError, OutputError
from rowmill.schemas.job import Job
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.files import name_of
from rowmill.tasks.input.listing import job_files
from rowmill.tasks.input.reader import lines
from rowmill.tasks.input.stored import source_of, take_input
from rowmill.tasks.job.job_file import job_of, load_job, resolve_job
from rowmill.tasks.run.run_plan import take_rows


def job(root: Path, input_: Any, **keys: Any) -> Job:
    return resolve_job(
        job_of(
            {"model": "gemini-3-flash", "input": input_, "output": str(root / "out"), "prompt": "p", **keys}, "test"
        ),
        root,
    )


def rows_of(asked: Job) -> list[dict[str, Any] | None]:
    [file] = job_files(asked)
    return [line.columns for line in lines(file, Cursor(name_of(file), 0, 0), 1 << 20)]


def taken(root: Path, input_: Any, **keys: Any) -> list[dict[str, Any] | None]:
    asked = job(root, input_, **keys)
    take_input(asked, Path(asked.output), anew=True)
    return rows_of(asked)


def database(root: Path) -> dict[str, str]:
    with duckdb.connect(str(root / "x.db")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS tickets (id VARCHAR, n INTEGER)")
        connection.execute("INSERT INTO tickets VALUES ('007', 1)")
    return {"query": "SELECT * FROM tickets ORDER BY ALL", "connection": "duckdb:///x.db"}


def test_a_query_is_asked_once_until_its_run_is_finished(tmp_path):
    """A resumed run reads the rows that its beginning read; a finished one, and a fresh one, asks the query anew."""
    asked = job(tmp_path, database(tmp_path))
    out = tmp_path / "out"
    take_rows(asked)
    assert rows_of(asked) == [{"id": "007", "n": 1}]
    database(tmp_path)
    take_rows(asked)
    assert len(rows_of(asked)) == 2, "no run has begun: an estimate stored the rows"
    database(tmp_path)
    (out / "journal").mkdir()
    (out / "journal" / "shard-000000.jsonl").touch()
    take_rows(asked)
    assert len(rows_of(asked)) == 2, "a run was killed before it wrote run.json"
    (out / "run.json").write_text('{"termination": {"kind": "budget"}}')
    take_rows(asked)
    assert len(rows_of(asked)) == 2
    (out / "run.json").write_text('{"termination": {"kind": "complete"}}')
    take_rows(asked, keeps=True)
    assert len(rows_of(asked)) == 2
    take_rows(asked)
    assert len(rows_of(asked)) == 3
    before = (out / "stored-input.parquet").stat().st_mtime_ns
    take_rows(asked)
    assert (out / "stored-input.parquet").stat().st_mtime_ns == before, "the same rows: nothing to do"
    other = asked.model_copy(update={"input": asked.input.model_copy(update={"query": "SELECT 5 AS five"})})
    (out / "run.json").write_text('{"termination": {"kind": "budget"}}')
    take_rows(other)
    assert rows_of(other) == [{"five": 5}]


def test_what_is_stored_is_its_owners_alone_and_says_what_it_is(tmp_path):
    """Files that only their owner can read, with a digest, a time and the source."""
    asked = job(tmp_path, database(tmp_path))
    take_input(asked, tmp_path / "out", anew=True)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert found == {"stored-input.parquet": 0o600, "stored-input.source.json": 0o600}
    source = source_of(asked, tmp_path / "out")
    assert source is not None
    assert source["query"] == "SELECT * FROM tickets ORDER BY ALL"
    assert len(source["digest"]) == 32
    (tmp_path / "out" / "stored-input.parquet").write_bytes(b"cut")
    with pytest.raises(InputError, match="is not there any more"):
        job_files(asked)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'{"a": 1}\n{"a": "x"}\n', [None, None]),
        (b'[{"a": 1},\n{"a": "x"}]', [None, None]),
        (b"a,b\n1,x\n", [{"a": "1", "b": "x"}]),
        (gzip.compress(b"a;b\n1;x\n", mtime=0), [{"a": "1", "b": "x"}]),
    ],
)
def test_standard_input_is_kept_as_it_came(tmp_path, content, rows):
    """Whatever format comes in; a run that goes on without it reads what came before."""
    asked = job(tmp_path, "-")
    take_input(asked, tmp_path / "out", anew=False, stdin=io.BytesIO(content))
    assert rows_of(asked) == rows
    take_input(asked, tmp_path / "out", anew=False, stdin=io.BytesIO(b""))
    assert rows_of(asked) == rows
    [kept] = [path for path in (tmp_path / "out").iterdir() if "source" not in path.name]
    assert kept.read_bytes() == content
    take_input(asked, tmp_path / "out", anew=False, stdin=io.BytesIO(b'{"c": 1}\n'))
    assert len([path for path in (tmp_path / "out").iterdir() if "source" not in path.name]) == 1


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "nothing comes in"), (b"one\ntwo\n", "input_format"), (b"%PDF-1.7", "a PDF document")]
)
def test_standard_input_that_is_no_rows_is_refused(tmp_path, content, told):
    """Naming it, and the key that says what it is."""
    with pytest.raises(InputError, match=told):
        take_input(job(tmp_path, "-"), tmp_path / "out", anew=False, stdin=io.BytesIO(content))
    if content.startswith(b"one"):
        asked = job(tmp_path, "-", input_format="csv")
        take_input(asked, tmp_path / "out", anew=False, stdin=io.BytesIO(content))
        assert rows_of(asked) == [{"one": "two"}]


def workbook(path: Path, rows: list[list[Any]], title: str = "Orders") -> Path:
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    book.create_sheet("Notes").append(["note"])
    book.save(path)
    return path


def test_a_sheet_is_read_with_the_types_of_its_cells(tmp_path, caplog):
    """Numbers, dates and truth values are such; a column of several types is text; errors and empty rows are none."""
    workbook(
        tmp_path / "r.xlsx",
        [
            [],
            ["id", "n", "f", "day", "at", "ok", "mixed", None, "n"],
            ["007", 1, 1, date(2026, 1, 5), datetime(2026, 1, 5, 10, 30), True, 7, None, "#N/A"],
            [],
            ["008", 2, 2.5, None, None, None, "x", "extra", 4, "beyond"],
        ],
    )
    assert taken(tmp_path, "r.xlsx") == [
        {"id": "007", "n": 1, "f": 1.0, "day": date(2026, 1, 5), "at": datetime(2026, 1, 5, 10, 30), "ok": True, "mixed": "7", "column_8": None, "n_2": None, "column_10": None},
        {"id": "008", "n": 2, "f": 2.5, "day": None, "at": None, "ok": None, "mixed": "x", "column_8": "extra", "n_2": 4, "column_10": "beyond"},
    ]  # fmt: skip
    for told in (
        "sheet 'Orders' of Orders, Notes",
        "1 cell with an error (#N/A)",
        "several types: 'mixed'",
        "renamed: ",
    ):
        assert told in caplog.text
    assert taken(tmp_path, "r.xlsx", sheet="Notes") == []
    with pytest.raises(InputError, match="no sheet 'Nope'.*Orders, Notes"):
        taken(tmp_path, "r.xlsx", sheet="Nope")
    (tmp_path / "bad.xlsx").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match="no readable Excel workbook"):
        taken(tmp_path, "bad.xlsx")
    with pytest.raises(InputError, match="No such file"):
        taken(tmp_path, "none.xlsx")


def test_a_changed_workbook_is_read_anew(tmp_path):
    """As any other file that was edited; one that nobody touched is not converted twice."""
    asked = job(tmp_path, "r.xlsx")
    workbook(tmp_path / "r.xlsx", [["a"], [1]])
    take_rows(asked)
    assert rows_of(asked) == [{"a": 1}]
    about = (tmp_path / "out" / "stored-input.source.json").read_bytes()
    take_rows(asked)
    assert (tmp_path / "out" / "stored-input.source.json").read_bytes() == about
    workbook(tmp_path / "r.xlsx", [["a"], [1], [2]])
    take_rows(asked)
    assert rows_of(asked) == [{"a": 1}, {"a": 2}]


def test_sqlite_gives_rows_with_types(tmp_path):
    """Each column has the type of its values; what is of several types is text."""
    with sqlite3.connect(tmp_path / "x.sqlite") as connection:
        connection.execute("CREATE TABLE t (id TEXT, n INTEGER, f REAL, b BLOB, any)")
        connection.execute("INSERT INTO t VALUES ('007', 1, 1.5, x'00ff', 'x'), ('008', NULL, 2, NULL, 7)")
    query = {"query": "SELECT * FROM t", "connection": "sqlite:///x.sqlite"}
    assert taken(tmp_path, query) == [
        {"id": "007", "n": 1, "f": 1.5, "b": "AP8=", "any": "x"},
        {"id": "008", "n": None, "f": 2.0, "b": None, "any": "7"},
    ]
    with pytest.raises(InputError, match=r"the query failed: .*readonly"):
        taken(tmp_path, {**query, "query": "DELETE FROM t"})


def test_a_query_without_a_connection_reads_files(tmp_path):
    """Paths in it begin at the job file's folder; types that Parquet does not hold are text."""
    pl.DataFrame({"id": ["007"], "n": [1]}).write_parquet(tmp_path / "r.parquet")
    sql = "SELECT *, INTERVAL 1 DAY AS span, '1.50'::DECIMAL(9, 2) AS d, TIME '10:00' AS t FROM 'r.parquet'"
    [row] = taken(tmp_path, {"query": sql})
    assert row is not None
    assert isinstance(row.pop("span"), str)
    assert row == {"id": "007", "n": 1, "d": Decimal("1.50"), "t": time(10)}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"query": "SELEC 1"}, "the query failed: Parser Error"),
        ({"query": "SELECT * FROM nope", "connection": "duckdb:///x.db"}, "the query failed: .*nope"),
        ({"query": "CREATE TABLE t (a INT)", "connection": "duckdb:///x.db"}, "read-only"),
        ({"query": "SELECT 1", "connection": "duckdb:///none.db"}, "no such database"),
        ({"query": "SELECT 1", "connection": "sqlite:///none.db"}, "no such database"),
        ({"query": "SELECT 1 AS a, 2 AS a", "connection": "sqlite:///e.sqlite"}, None),
        (
            {"query": "SELECT 1", "connection": "${NOT_SET_ANYWHERE}"},
            "NOT_SET_ANYWHERE, which is not in the environment",
        ),
    ],
)
def test_a_query_that_cannot_be_asked_says_why(tmp_path, query, told):
    """One sentence, never a traceback."""
    database(tmp_path)
    sqlite3.connect(tmp_path / "e.sqlite").close()
    if told is None:
        assert taken(tmp_path, query) == [{"a": 1, "a_2": 2}]
        return
    with pytest.raises(InputError, match=told):
        taken(tmp_path, query)


@pytest.mark.parametrize(
    ("connection", "told"),
    [
        ("postgresql://me:secret@host/db", "holds a password.*PGPASSWORD"),
        ("postgresql://host/db?password=secret", "holds a password"),
        ("mysql://host/db", "mysql is no connection of ours"),
        ("x.db", "this is no connection of ours: write duckdb:///x.db"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_with_the_job(tmp_path, connection, told):
    """A password would be written down with the job, so it comes from the environment; it is not shown."""
    with pytest.raises(JobError, match=told) as refused:
        job(tmp_path, {"query": "SELECT 1", "connection": connection})
    assert "secret" not in str(refused.value)


def test_paths_of_a_query_are_relative_to_the_job_file(tmp_path):
    """So that a job is the same from wherever it is run."""
    (tmp_path / "job.json").write_text(
        json.dumps({"model": "m", "input": {"query": "SELECT 1", "connection": "duckdb:///x.db"}, "output": "out"})
    )
    loaded = load_job(tmp_path / "job.json").input
    assert not isinstance(loaded, str)
    assert (loaded.connection, loaded.folder) == (f"duckdb:///{tmp_path}/x.db", str(tmp_path))
    assert load_job(tmp_path / "job.json", {"input": "-"}).input == "-"


def test_another_run_holds_the_output(tmp_path):
    """What is stored is not replaced while a run reads it."""
    asked = job(tmp_path, database(tmp_path))
    take_rows(asked)
    (tmp_path / "out" / ".lock").write_text("process 1")
    held = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(OutputError, match="process 1"):
            take_rows(asked, anew=True)
    finally:
        os.close(held)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (5, r"test: input: it is a path, `-`, or \{query, connection\}$"),
        (["a.csv", "b.csv"], "test: input: it is a path"),
        ({"sql": "SELECT 1"}, r"the key 'input.query' is missing; unknown key 'input.sql'"),
        ({"query": "SELECT 1", "conection": "x"}, r"unknown key 'input.conection': did you mean 'connection'\?$"),
    ],
)
def test_an_input_that_is_neither_a_path_nor_a_query_says_what_it_can_be(tmp_path, given, told):
    """About what was meant: the keys of a query where it is one."""
    with pytest.raises(JobError, match=told):
        job(tmp_path, given)
