"""CSV and TSV: every column text, how the file is written seen or said, a malformed line one unreadable row."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.errors import InputError
from rowmill.schemas.input_sections import Csv
from rowmill.schemas.row import Cursor, Row, Unreadable
from rowmill.tasks.input.csv_dialect import dialect_of, encoding_of, unique_names
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.listing import Reading, input_files
from rowmill.tasks.input.reader import judge, lines

LONG = 1 << 20


def file_of(path: Path, content: bytes, **csv_: object) -> InputFile:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    [file] = input_files(str(path), Reading(csv=Csv.model_validate(csv_)))
    return file


def read(file: InputFile, start: Cursor | None = None, most: int = LONG) -> list[Row | Unreadable]:
    return [judge(line, n, "f", id_column=None) for n, line in enumerate(lines(file, start or Cursor("", 0, 0), most))]


def columns(file: InputFile, **kwargs) -> list[dict | None]:
    return [row.columns if isinstance(row, Row) else None for row in read(file, **kwargs)]


CELLS = st.text(st.sampled_from("ab 7,;\t|\"'\\\r\né€\N{GRINNING FACE}"), max_size=6)


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.csv.gz"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_standard_library_writes_is_read_back_from_any_row_on(tmp_path, name, rows, quoting, end):
    """The rows equal those of the same rows as JSON Lines, whatever the cells hold, from each row's cursor too."""
    if quoting == csv.QUOTE_MINIMAL:
        # Written without quotes, a carriage return at a line's end is that line's end.
        rows = [tuple(cell.replace("\r", "") for cell in row) for row in rows]
    names = ["id", "text", "note"]
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if ".tsv" in name else ",", quoting=quoting, lineterminator=end)
    writer.writerow(names)
    writer.writerows(rows)
    job = {"separator": "\t" if ".tsv" in name else ",", "quote": '"', "escape": ""}
    file = file_of(tmp_path / name, text.getvalue().encode(), **job)
    as_json = tmp_path / "r.jsonl"
    as_json.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    expected = [line.columns for line in read(InputFile(as_json, "jsonl"))]
    assert columns(file) == expected
    for line in list(lines(file, Cursor("", 0, 0), LONG)):
        assert columns(file, start=Cursor("", line.offset, line.number - 1)) == expected[line.number - 1 :]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"id;a\n007;1,5\n8;2,5\n", [{"id": "007", "a": "1,5"}, {"id": "8", "a": "2,5"}]),
        (b"id|a\n1|x\n", [{"id": "1", "a": "x"}]),
        (b"text\nhello, you\nand; you\nfoo", [{"text": "hello, you"}, {"text": "and; you"}, {"text": "foo"}]),
        (b"\xef\xbb\xbfid,a\r\n1,\r\n", [{"id": "1", "a": ""}]),
        ("id\ta\r\n1\tgrüße\r\n".encode("utf-16"), [{"id": "1", "a": "grüße"}]),
        ("id,a\n1,grüße\n".encode("utf-16-be"), [{"id": "1", "a": "grüße"}]),
        ("id,a\n1,Müller\n2,Größe\n".encode("cp1252"), [{"id": "1", "a": "Müller"}, {"id": "2", "a": "Größe"}]),
        (b"sep=;\r\nid;a\r\n1;x\r\n", [{"id": "1", "a": "x"}]),
        (b"id,a\r1,x\r2,y\r", [{"id": "1", "a": "x"}, {"id": "2", "a": "y"}]),
        (b"id,a\r\r\n1,x\r\r\n\r\n2,y\r\r\n", [{"id": "1", "a": "x"}, {"id": "2", "a": "y"}]),
        (b"id, a\n1, \"x, y\"\n2, \"z\"\n", [{"id": "1", "a": "x, y"}, {"id": "2", "a": "z"}]),
        (b"id,a\n1,'x, y'\n2,'z'\n", [{"id": "1", "a": "x, y"}, {"id": "2", "a": "z"}]),
        (b'id,a\n1,"5\\" pipe, long"\n2,"b"\n', [{"id": "1", "a": '5" pipe, long'}, {"id": "2", "a": "b"}]),
        (b'id,a\n1,5" pipe\n2,b\n', [{"id": "1", "a": '5" pipe'}, {"id": "2", "a": "b"}]),
        (b'id,a\n1,"two\nlines, ""q"""\n', [{"id": "1", "a": 'two\nlines, "q"'}]),
        (b"id,a\n1,b\n2,\"c\n3,d\n", [{"id": "1", "a": "b"}, None, {"id": "3", "a": "d"}]),
        (b"id\ta\n1\tit's 'so'\n2\t\"c\n", [{"id": "1", "a": "it's 'so'"}, None]),
        (b"id,a\n1,b,\n2,c,\n", [None, None]),
        (b"id,a\n", []),
        (b"", []),
    ],
)  # fmt: skip
def test_how_a_file_is_written_is_seen(tmp_path, content, rows):
    """Separator, encoding, quotes and line ends are those of the file, and a value is the text that stands there."""
    assert columns(file_of(tmp_path / "r.csv", content)) == rows


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp1251", "Привет, мир"), ("shift_jis", "日本語のテキスト"), ("gbk", "中文文本内容"), ("euc_kr", "안녕하세요"), ("cp1253", "Καλημέρα"), ("koi8-r", "Привет")],
)  # fmt: skip
def test_an_older_encoding_of_another_script_is_asked_for(tmp_path, encoding, text):
    """It is read where the job names it; else it is refused with its line, and never read as Windows-1252."""
    content = f'id,a\nr1,plain\nr2,"{text}"\n'.encode(encoding)
    with pytest.raises(InputError, match=r"not UTF-8, and as Windows-1252 its line 3 would read.*csv: \{encoding"):
        columns(file_of(tmp_path / "r.csv", content))
    assert columns(file_of(tmp_path / "r.csv", content, encoding=encoding))[1]["a"] == text
    western = 'id,a\nr1,"————€€€€ à l’été, Größe"\n'
    assert columns(file_of(tmp_path / "r.csv", western.encode("cp1252")))[0]["a"] == "————€€€€ à l’été, Größe"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"2,b,c", "3 fields, the header has 2"),
        (b"2", "1 field, the header has 2"),
        (b"2,\xff\xfe", "not valid UTF-8: byte 0xff"),
        (b'2,"b', "a quote is opened and not closed"),
        (b'2,"b"c', "text stands behind a closing quote"),
        (b"2," + b"x" * 200, "longer than 100 bytes"),
        (b'2,"' + b"x\n" * 60 + b'"', "longer than 100 bytes"),
    ],
)
@pytest.mark.parametrize("rest", [b"3,c\n4,d\n", b'3,"c"\n4,"d, d"\n'])
def test_a_malformed_line_is_that_row_and_nothing_else(tmp_path, bad, reason, rest):
    """The rows around it are read, and it says why it is none."""
    if bad.count(b"\n"):
        rest = b"3,c\n4,d\n"
    first, wrong, *others = read(file_of(tmp_path / "r.csv", b"id,a\n1,a\n" + bad + b"\n" + rest, quote='"'), most=100)
    assert isinstance(first, Row)
    assert isinstance(wrong, Unreadable)
    assert reason in wrong.message
    assert "f, row 2" in wrong.message
    assert wrong.message.endswith("(line 3 of the file)")
    assert [row.columns["id"] for row in others if isinstance(row, Row)] == ["3", "4"]


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz"])
def test_what_is_wrong_is_told_by_the_line_that_an_editor_shows(tmp_path, name):
    """Blank lines and records of several lines before it count, from whatever row reading begins."""
    content = b'id,a\n\n1,"x\ny\nz"\nbad\n2,b\n\nworse,1,2\n3,c\n'
    file = file_of(tmp_path / name, content)
    told = [row.message for row in read(file) if isinstance(row, Unreadable)]
    assert [message.rpartition("(")[2] for message in told] == ["line 6 of the file)", "line 9 of the file)"]
    later = read(file, Cursor("", content.index(b"2,b"), 2))
    assert [row.message for row in later if isinstance(row, Unreadable)] == ["f, row 4: " + told[1].partition(": ")[2]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_are_rows_or_unreadable_ones_and_lose_none(tmp_path, content):
    """Whatever a file holds, its records are contiguous: each byte behind the header belongs to one or to a blank line."""
    file = file_of(tmp_path / "r.csv", b"id,a\n" + content, encoding="utf-8", separator=",")
    found = list(lines(file, Cursor("", 0, 0), 20))
    at = len(b"id,a\n")
    body = b"id,a\n" + content
    for line in found:
        assert not body[at : line.offset].strip(b"\r\n")
        # A line that is too long is cut where it is kept.
        is_cut = "longer" in (line.problem or "")
        at = body.find(b"\n", line.offset) % (len(body) + 1) + 1 if is_cut else line.offset + len(line.raw)
        assert (line.columns is None) == (line.problem is not None)


def test_the_job_says_how_a_file_is_written(tmp_path):
    """What the job says stands, whatever the file looks like; columns can be named there too."""
    content = "1,5;'a;b'\n2,5;'c'\n".encode("utf-16-le")
    file = file_of(tmp_path / "r.csv", content, separator=";", encoding="utf-16-le", quote="'", header=["n", "t"])
    assert columns(file) == [{"n": "1,5", "t": "a;b"}, {"n": "2,5", "t": "c"}]
    file = file_of(tmp_path / "q.csv", b'1,"a\n2,b\n', quote="", header=False)
    assert columns(file) == [{"column_1": "1", "column_2": '"a'}, {"column_1": "2", "column_2": "b"}]


def test_columns_get_names_of_their_own(tmp_path):
    """A name that stands twice gets a number, an empty one its place, and both are told."""
    assert unique_names(["a", "", "a", "a_2", " b "]) == (
        ("a", "column_2", "a_3", "a_2", "b"),
        ("column 2 is column_2", "column 3 'a' is a_3"),
    )
    file = file_of(tmp_path / "r.csv", b"a,a,\n1,2,3\n")
    assert columns(file) == [{"a": "1", "a_2": "2", "column_3": "3"}]
    assert "renamed: column 2 'a' is a_2, column 3 is column_3" in dialect_of(file).sentence


def test_another_header_makes_other_rows(tmp_path):
    """The digest of a row depends on the names of its columns, not on its own line alone."""
    one = file_of(tmp_path / "a.csv", b"id,a\n1,x\n")
    other = file_of(tmp_path / "b.csv", b"id,b\n1,x\n")
    [first], [second] = list(lines(one, Cursor("", 0, 0), LONG)), list(lines(other, Cursor("", 0, 0), LONG))
    assert first.raw == second.raw
    assert first.context != second.context


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("grüße", "utf-8"), ("grüße", "cp1252"), ("\ufeffgrüße", "utf-16-le"), ("\ufeffgrüße", "utf-32-be"), ("plain text", "utf-16-be")],
)  # fmt: skip
def test_the_encoding_is_seen(text, encoding):
    """A byte order mark, the zeros of UTF-16, UTF-8 where it can be, else the one of Windows."""
    assert encoding_of(text.encode(encoding), is_all=True) == encoding


def test_many_unclosed_quotes_are_read_in_time(tmp_path):
    """Each costs its own line, however many there are."""
    content = b"id,a\n" + b"".join(b'%d,"x\n' % n if n % 50 == 0 else b"%d,y\n" % n for n in range(20_000))
    found = read(file_of(tmp_path / "r.csv", content, quote='"'))
    assert len(found) == 20_000
    assert sum(isinstance(row, Unreadable) for row in found) == 400
