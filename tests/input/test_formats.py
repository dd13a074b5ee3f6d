"""Every format gives the rows that the same rows give as JSON Lines, from any of them on; what is none is named."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.errors import InputError
from rowmill.schemas.kept_values import KeepTypes
from rowmill.schemas.row import Cursor, Row, Unreadable
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.formats import FORMATS, typed_of
from rowmill.tasks.input.kept_types import is_typed, kept_types
from rowmill.tasks.input.listing import input_files, partition_of
from rowmill.tasks.input.reader import judge, lines
from rowmill.tasks.input.typed_lines import lines_of

LONG = 1 << 20
START = Cursor("", 0, 0)


def read(file: InputFile, start: Cursor = START, most: int = LONG) -> list[Row | Unreadable]:
    return [judge(line, n, "f", id_column=None) for n, line in enumerate(lines(file, start, most))]


def columns(file: InputFile, start: Cursor = START) -> list[dict]:
    return [row.columns for row in read(file, start)]  # type: ignore[union-attr]


def one(path: Path, content: bytes | None = None) -> InputFile:
    if content is not None:
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    [file] = input_files(str(path))
    return file


def write_arrow(path: Path, rows: list[dict], *, stream: bool = False, few: int = 2) -> None:
    schema = pa.schema([("n", pa.int64()), ("t", pa.string()), ("f", pa.float64()), ("l", pa.list_(pa.string()))])
    with pa.OSFile(str(path), "wb") as sink, (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, schema) as out:
        for at in range(0, len(rows), few):
            out.write_batch(pa.RecordBatch.from_pylist(rows[at : at + few], schema=schema))


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.none() | st.integers(-(2**63), 2**63 - 1),
            "t": st.none() | st.text(st.characters(codec="utf-8"), max_size=8),
            "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "l": st.none() | st.lists(st.text('a"[]{},\\\n', max_size=4), max_size=3),
        }
    ),
    max_size=7,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rows=ROWS)
def test_the_same_rows_are_read_from_every_format_and_from_any_row_on(tmp_path, rows):
    """JSON arrays (compact, indented, compressed), Arrow files and streams and Parquet give the rows of JSON Lines."""
    expected = columns(one(tmp_path / "r.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows)))
    pq.write_table(
        pa.Table.from_pylist(
            rows,
            schema=pa.schema(
                [("n", pa.int64()), ("t", pa.string()), ("f", pa.float64()), ("l", pa.list_(pa.string()))]
            ),
        ),
        tmp_path / "r.parquet",
        row_group_size=3,
    )
    write_arrow(tmp_path / "r.arrow", rows)
    write_arrow(tmp_path / "s.arrow", rows, stream=True)
    (tmp_path / "r.json").write_text(json.dumps(rows))
    (tmp_path / "i.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8-sig")
    (tmp_path / "z.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    for name in ("r.parquet", "r.arrow", "s.arrow", "r.json", "i.json", "z.json.gz"):
        file = one(tmp_path / name)
        assert columns(file) == expected, name
        for line in list(lines(file, START, LONG)):
            assert columns(file, Cursor("", line.offset, line.number - 1)) == expected[line.number - 1 :], name


@pytest.mark.parametrize(
    ("content", "good", "problem"),
    [
        (b'[{"a": 1}, 5, {"a": 2}]', [1, 2], "an object is expected"),
        (b'[{"a": 1}, {"a": NaN}, {"a": 2}]', [1, 2], "not valid JSON"),
        (b'[{"a": 1}, {"a": "' + b"x" * 200 + b'"}, {"a": 2}]', [1, 2], "longer than 100 bytes"),
        (b'[{"a": 1}, {"b": [' + b'"x", ' * 200 + b'"y"]}, {"a": 2}]', [1, 2], "longer than 100 bytes"),
        (b'[{"a": 1}, {"a": 2}', [1, 2], "the array has no end"),
        (b'[{"a": 1}, {"a": 2', [1], "the rest of the file is missing"),
        (b'[{"a": 1}, {"a": [2}]}, {"a": 3}]', [1], "a } too early"),
        (b'[{"a": 1}] [{"a": 2}]', [1], "something stands behind the array"),
        (b'[{"a": 1}, }]', [1], "not valid JSON"),
    ],
)
def test_a_bad_value_of_an_array_is_one_row(tmp_path, content, good, problem):
    """A value that is no object is that row; an array that is cut or broken says it in its last row."""
    found = read(
        InputFile(tmp_path / "r.json", "json") if (tmp_path / "r.json").write_bytes(content) else None, most=100
    )
    assert [row.columns["a"] for row in found if isinstance(row, Row)] == good
    [wrong] = [row for row in found if isinstance(row, Unreadable)]
    assert problem.removeprefix("an ") in wrong.reason
    assert ", row " in wrong.message


def test_long_values_of_an_array_are_passed_over(tmp_path):
    """One of megabytes costs its own row, whether it is a string or many values."""
    rows = [{"a": "x" * 3_000_000}, {"a": [{"b": "y"}] * 100_000}, {"a": 1}]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    found = read(InputFile(tmp_path / "r.json", "json"), most=1_000)
    assert [isinstance(row, Row) for row in found] == [False, False, True]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("r.jsonl", b'[{"a": 1},\n {"a": 2}]\n', r"this is a JSON array.*jq -c '\.\[\]' r\.jsonl"),
        ("r.jsonl", b'[{"a": 1}, {"a": 2}]', "this is a JSON array"),
        ("r.jsonl.gz", b'[\n{"a": 1}\n]\n', "this is a JSON array"),
        (
            "r.json",
            b'{\n "rows": [\n  {"a": 1}\n ]\n}\n',
            r"one JSON object over many lines; an array.*jq -c '\.rows\[\]'",
        ),
        (
            "r.json",
            b'{"n": 1, "my rows": [{"a": 1}]}\n',
            r"under 'my rows'; an array of objects is expected.*jq -c '\.\[\"my rows\"\]\[\]'",
        ),
        (
            "r.json",
            b'{"rows": [' + b'{"a": 1},' * 9_000 + b'{"a": 1}]}',
            r"under 'rows'; an array of objects is expected",
        ),
        ("r.jsonl", '{"a": 1}'.encode("utf-16"), "JSON in UTF-16.*iconv"),
        ("r.csv", b"PK\x03\x04 [Content_Types].xml", "no CSV: by its beginning it is .xlsx.*[Rr]ename it"),
        ("r.csv", b"\xd0\xcf\x11\xe0" + bytes(99), "no CSV but an Excel workbook of the old kind"),
        ("r.csv", b"<html><table>\n<tr>", "no CSV but an HTML page"),
        ("r.tsv", b'\xef\xbb\xbf[{"a": 1},\n {"a": 2}]', "no CSV: by its beginning it is .json"),
        ("r.csv.gz", b"PAR1\x15\x00", "no CSV: by its beginning it is .parquet"),
        ("r.xls", b"\xd0\xcf\x11\xe0" + bytes(99), "an Excel workbook of the old kind.*libreoffice"),
        ("r.ods", b"PK\x03\x04", "OpenDocument sheet.*libreoffice"),
        ("r.pdf", b"%PDF-1.7", "a PDF document.*attachments"),
        ("r.avro", b"Obj\x01", r"an Avro file.*read_avro\('.*r\.avro'\)\.write_parquet\('r\.parquet'\)"),
        ("r.orc", b"ORC", "an ORC file.*pyarrow.orc"),
        ("r.zip", b"PK\x03\x04", "an archive.*unzip"),
        ("r.docx", b"PK\x03\x04word/", "a Word document.*pandoc"),
        ("r.sqlite", b"SQLite format 3\x00", r"a SQLite database.*\{query: .*sqlite:////.*r\.sqlite"),
        ("rows", b"SQLite format 3\x00", "a SQLite database"),
        ("rows.bin", bytes(range(200)), "unknown kind of file .bin.*owmill reads .jsonl"),
        ("notes.txt", b"Some note, written by a person.\n", "unknown kind of file .txt"),
    ],
)
def test_a_file_of_another_kind_says_what_it_is_and_what_converts_it(tmp_path, name, content, told):
    """Before anything is read of it, and in one sentence."""
    with pytest.raises(InputError) as refused:
        one(tmp_path / name, content)
    import re

    assert re.search(told, str(refused.value)), str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows", b'{"a": "1"}\n'), ("rows.txt", b'[{"a": "1"}]'), ("rows.dat", b"a;b\n1;2\n"), ("rows.csv", b"ORCID,a\nx,1\n"), ("rows.json", b'{"a": "1"}\n{"a": "2"}\n'),
     ("rows.json", b'{"a": "1", "tags": ["x"], "at": {"b": 1}}\n'), ("rows.json", b'{"a": "1", "lines": [{}]}\n{"a": "2"}\n')],
)  # fmt: skip
def test_a_file_without_a_known_ending_is_what_it_holds(tmp_path, name, content):
    """JSON Lines, an array, separated values; and a .json file may be the one or the other."""
    assert columns(one(tmp_path / name, content))[0]["a"] == "1"


def test_folders_of_a_partition_are_columns(tmp_path):
    """In the order of their paths, as text, for any format; a column of the file's own stands as it is there."""
    for year, n in (("2025", 1), ("2026", 2)):
        folder = tmp_path / "data" / f"year={year}" / "kind=a%20b"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"n": [n]}), folder / "part.parquet")
    files = input_files(str(tmp_path / "data"))
    assert [columns(file)[0] for file in files] == [
        {"year": "2025", "kind": "a b", "n": 1},
        {"year": "2026", "kind": "a b", "n": 2},
    ]
    assert is_typed(files)
    types = kept_types(files, ["year", "n"], KeepTypes())
    assert types == {"year": pa.string(), "n": pa.int64()}
    typed = typed_of(files[1])
    assert typed is not None
    [batch] = typed.columns(files[1], 0, 1, names=["n", "year"])
    assert batch.select(["n", "year"]).to_pylist() == [{"n": 2, "year": "2026"}]
    [batch] = typed.columns(files[1], 0, 1, names=["year"])
    assert batch.num_rows == 1
    (tmp_path / "data" / "year=2026" / "n=7").mkdir()
    own = one(tmp_path / "data" / "year=2026" / "n=7" / "r.jsonl", b'{"n": 3}\n[]\n')
    first, second = read(own)
    assert isinstance(first, Row)
    assert first.columns == {"year": "2026", "n": 3}
    assert isinstance(second, Unreadable)
    assert partition_of(Path("a=1/__x/b=__HIVE_DEFAULT_PARTITION__/f")) == (("b", None),)


def test_a_folder_holds_rows_of_one_kind(tmp_path):
    """A file beside its own copy in another format is not read twice: the folder is refused, naming what it holds."""
    one(tmp_path / "r.csv", b"a\n1\n")
    one(tmp_path / "r.jsonl", b'{"a": 1}\n')
    with pytest.raises(InputError, match=r"several kinds \(1 csv, 1 jsonl\).*data/\*\.csv"):
        input_files(str(tmp_path))
    assert [file.format for file in input_files(str(tmp_path / "*.csv"))] == ["csv"]


@pytest.mark.parametrize("name", ["r.parquet", "r.arrow"])
def test_a_value_that_is_too_long_is_that_row(tmp_path, name):
    """A cell of a typed file longer than limits.max_line_bytes is unreadable, and another one has another digest."""
    found = []
    for last in "xy":
        rows = [{"n": 1, "t": "a"}, {"n": 2, "t": "b" * 5_000 + last}, {"n": 3, "t": "c", "l": ["d"]}]
        if name == "r.arrow":
            write_arrow(tmp_path / name, rows)
        else:
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
        file = one(tmp_path / name)
        first, long, last_row = read(file, most=1_000)
        assert [first.columns["n"], last_row.columns["n"]] == [1, 3]  # type: ignore[union-attr]
        assert isinstance(long, Unreadable)
        assert "the column 't' is longer than 1,000 bytes" in long.message
        found.append([line.raw for line in lines(file, START, 1_000)])
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


# What a pyarrow file may hold beside plain text.
NESTED = {
    "texts": (pa.list_(pa.string()), ["b" * 3_000, None, "c" * 3_000]),
    "numbers": (pa.list_(pa.int64()), [1, None, *range(500)]),
    "flags": (pa.list_(pa.bool_()), [True, None, False] * 5_000),
    "struct": (pa.struct([("a", pa.string()), ("b", pa.list_(pa.float64()))]), {"a": None, "b": [0.5] * 700}),
    "map": (pa.map_(pa.string(), pa.int32()), [("k" * 4_000, 1), ("l", None)]),
    "dates": (pa.large_list(pa.date32()), [dt.date(2026, 1, 1), *[dt.date(2027, 1, 1)] * 1_000]),
}


@pytest.mark.parametrize("name", NESTED)
def test_a_nested_value_that_is_too_long_has_its_own_digest_wherever_it_stands(name):
    """A long value of any type has one digest in any place of any batch, and another value another one."""
    kind, value = NESTED[name]
    other = dict(value, a="x") if isinstance(value, dict) else [*value[:-1], value[0]]
    column = pa.array([None, value, None, value, other, value], kind)
    batch = pa.record_batch([column], ["t"])

    def long(*batches: pa.RecordBatch) -> list[bytes]:
        found = list(lines_of(iter(batches), 0, 1_000))
        return [line.raw[-16:] for line in found if line.problem is not None]

    first, second, another, third = long(batch)
    assert first == second == third != another
    assert long(batch.slice(3), batch.slice(1, 2)) == [first, another, first, first]


def test_a_cell_that_is_too_long_is_not_copied(tmp_path):
    """Beside what pyarrow needs to decode it (the page, and the column made of it) a long cell takes no memory."""
    size = 96 * 2**20
    pq.write_table(pa.table({"t": ["a", "b" * size, "c"]}), tmp_path / "r.parquet", use_dictionary=False)
    ended = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "r.parquet")], capture_output=True, check=True)
    assert int(ended.stdout) < 2.5 * size


# Bytes at the most beyond what the process took before.
PEAK = """
import resource, sys
from pathlib import Path
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.parquet import parquet_lines
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
lines = list(parquet_lines(InputFile(Path(sys.argv[1]), "parquet"), Cursor(sys.argv[1], 0, 0), 1_000))
assert [line.problem is None for line in lines] == [True, False, True]
print(peak() - before)
"""


def test_a_format_is_one_line():
    """Each ending names one format."""
    endings = [ending for known in FORMATS.values() for ending in known.endings]
    assert len(endings) == len(set(endings))
