"""Every line becomes exactly one row or one unreadable row, in any container, from any cursor."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.errors import InputError
from rowmill.schemas.row import Cursor, Row, Unreadable
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.formats import format_of_ending
from rowmill.tasks.input.reader import input_files, judge, lines

START = Cursor("", 0, 0)


def rows_of(path: Path, id_column: str | None = None, most: int = 1 << 20) -> list[Row | Unreadable]:
    file = InputFile(path, format_of_ending(path.name) or "")
    return [judge(line, n, str(path), id_column=id_column) for n, line in enumerate(lines(file, START, most))]


def write(path: Path, content: bytes) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    elif path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as out:
            out.write(content)
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.jsonl.zst"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.lists(
        st.dictionaries(st.text("abc", min_size=1), st.integers() | st.text(st.characters(codec="utf-8"))),
        max_size=8,
    )
)
def test_rows_read_back_as_written(tmp_path, name, rows):
    """What was written as JSON Lines is read back row by row, compressed or not."""
    path = write(tmp_path / name, b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
    assert [row.columns for row in rows_of(path)] == rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.binary(max_size=12).filter(lambda b: b"\n" not in b), max_size=10))
def test_any_lines_give_one_row_each(tmp_path, raw):
    """Whatever bytes the lines hold, each is one row or one unreadable with a reason; only blank ends are left out."""
    path = write(tmp_path / "r.jsonl", b"\n".join(raw) + b"\n" if raw else b"")
    while raw and not raw[-1].strip():
        raw.pop()
    found = rows_of(path)
    assert len(found) == len(raw)
    assert [row.line for row in found] == list(range(1, len(raw) + 1))
    assert all(isinstance(row, Row) or row.reason for row in found)


def test_blank_lines_are_held_packed(tmp_path):
    """However many blank lines stand before another, each is told with its place and its bytes, in little memory."""
    told = b'{"a": 1}\n'
    blanks = [(b"\n", b" \t\r\n", b"\r\n", b"  " * 40 + b"\n")[n * 7919 % 1009 % 4] for n in range(30_000)]
    path = write(tmp_path / "r.jsonl", told + b"".join(blanks) + told + b"\n" * 30_000)
    at = 0
    tracemalloc.start()
    found = zip(lines(InputFile(path, "jsonl"), START, 1_000), [told, *blanks, told], strict=True)
    for number, (line, raw) in enumerate(found, 1):
        assert (line.offset, line.number, line.raw) == (at, number, raw)
        at += len(raw)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * 2**20


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "empty"),
        (b"[1]", "an array"),
        (b'"x"', "a string"),
        (b"null", "null"),
        (b"5", "a number"),
        (b'{"a":', "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "' + b"x" * 200 + b'"}', "longer than 100 bytes"),
        (b'{"a": 1e999}', "not valid JSON"),
        (b"[" * 90, "not valid JSON"),
    ],
)
def test_a_bad_line_says_why_and_hurts_no_neighbour(tmp_path, line, reason):
    """Each kind of bad line is unreadable with file, line and reason; the rows around it are read."""
    path = write(tmp_path / "r.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n' + line + b'\n{"a": 2}')
    first, bad, last = rows_of(path, most=100)
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert (first.columns, last.columns) == ({"a": 1}, {"a": 2})
    assert isinstance(bad, Unreadable)
    assert reason in bad.message
    assert f"{path}, line 2" in bad.message


@pytest.mark.parametrize("name", ["r.jsonl.gz", "r.jsonl.zst"])
def test_a_cut_archive_is_told_as_a_last_unreadable_row(tmp_path, name):
    """A compressed file cut in its middle gives the rows before the cut and says that the rest is missing."""
    rows = [{"n": n, "t": f"{n * 7919 % 10007} {n * 104729 % 1299709}"} for n in range(60_000)]
    path = write(tmp_path / name, "".join(json.dumps(row) + "\n" for row in rows).encode())
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    *found, last = rows_of(path)
    assert len(found) > 1_000
    assert [row.columns for row in found if isinstance(row, Row)] == rows[: len(found)]
    assert isinstance(last, Unreadable)
    assert "cannot be read" in last.reason


def test_parquet_rows_keep_their_types_and_start_anywhere(tmp_path):
    """Parquet rows are read across row groups, from any row on."""
    table = pa.table(
        {
            "n": list(range(2_500)),
            "d": [Decimal("1.50")] * 2_500,
            "at": [datetime(2026, 1, 1, tzinfo=UTC)] * 2_500,
            "day": [date(2026, 1, 2)] * 2_500,
        }
    )
    pq.write_table(table, tmp_path / "r.parquet", row_group_size=700)
    for start in (0, 1, 699, 700, 1_500, 2_499, 2_500):
        found = [
            line.columns["n"]
            for line in lines(InputFile(tmp_path / "r.parquet", "parquet"), Cursor("", start, start), 1)
        ]
        assert found == list(range(start, 2_500))


def test_a_folder_is_read_in_order_and_oddities_are_refused(tmp_path):
    """Files of a folder come sorted, hidden ones and other kinds left out; what is no input is refused by name."""
    for name in ("b.jsonl", "a.jsonl", "_success.json", ".hidden.jsonl", "notes.txt", "sub/c.jsonl.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, b"a note\n" if name == "notes.txt" else b'{"a": 1}\n')
    names = [str(file.place.relative_to(tmp_path)) for file in input_files(str(tmp_path))]
    assert names == ["a.jsonl", "b.jsonl", "sub/c.jsonl.gz"]
    assert len(input_files(str(tmp_path / "*.jsonl"))) == 2
    for wrong in ("none.jsonl", "*.parquet", "notes.txt"):
        with pytest.raises(InputError, match=wrong.replace("*", r"\*")):
            input_files(str(tmp_path / wrong))


def row(**columns) -> Row:
    return Row(0, "0", columns, "f", 1)
