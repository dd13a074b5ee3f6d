"""Input: every line becomes exactly one row or one unreadable, in any container, from any cursor."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.errors import InputError, JobError
from rowmill.schemas.job import Job
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.request import Request
from rowmill.schemas.row import Cursor, Row, Unreadable
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.reader import input_files, judge, lines, shard_rows
from rowmill.tasks.input.survey import Surveyor
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.template import Template, TemplateError

START = Cursor("", 0, 0)


def rows_of(path: Path, id_column: str | None = None, most: int = 1 << 20) -> list[Row | Unreadable]:
    return [judge(line, n, str(path), id_column) for n, line in enumerate(lines(path, START, most))]


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
        found = [line.columns["n"] for line in lines(tmp_path / "r.parquet", Cursor("", start, start), 1)]
        assert found == list(range(start, 2_500))


def test_a_folder_is_read_in_order_and_oddities_are_refused(tmp_path):
    """Files of a folder come sorted, hidden ones and other kinds left out; what is no input is refused by name."""
    for name in ("b.jsonl", "a.jsonl", "_success.json", ".hidden.jsonl", "notes.txt", "sub/c.jsonl.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, b'{"a": 1}\n')
    names = [str(path.relative_to(tmp_path)) for path in input_files(str(tmp_path))]
    assert names == ["a.jsonl", "b.jsonl", "sub/c.jsonl.gz"]
    assert len(input_files(str(tmp_path / "*.jsonl"))) == 2
    for wrong in ("none.jsonl", "*.parquet", "notes.txt"):
        with pytest.raises(InputError, match=wrong.replace("*", r"\*")):
            input_files(str(tmp_path / wrong))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 5), max_size=3),
    limit=st.none() | st.integers(1, 20),
)
def test_shards_cover_every_row_once(tmp_path, counts, sizes, limit):
    """Shards are contiguous ranges that cover the input once, cut where the parts that stand were cut."""
    files = []
    for number, count in enumerate(counts):
        content = b"".join(b'{"v": "%d-%d"}\n' % (number, n) for n in range(count))
        files.append(write(tmp_path / f"{number}.jsonl", content))
    everything = [f"{number}-{n}" for number, count in enumerate(counts) for n in range(count)][:limit]
    with KeyIndex(tmp_path / "keys") as keys:
        surveyor = Surveyor(
            files, id_column="v", keep=["v"], keys=keys, sizes=dict(enumerate(sizes)), limit=limit, max_line_bytes=1_000
        )
        survey = surveyor.run_checked()
    found = [row.row_id for shard in survey.shards for row in shard_rows(shard, files, "v", 1_000)]
    assert found == everything
    assert survey.rows == len(everything)
    starts = [shard.first_row for shard in survey.shards]
    assert starts == sorted(set(starts))
    for shard, size in zip(survey.shards, sizes, strict=False):
        assert shard.rows == min(size, len(everything) - shard.first_row)
    assert not survey.duplicates


def test_an_edited_row_changes_its_shards_digest_alone(tmp_path):
    """A shard's digest tells whether its rows are still the same."""

    def digests(content: bytes) -> list[str]:
        path = write(tmp_path / "r.jsonl", content)
        with KeyIndex(tmp_path / "keys") as keys:
            surveyor = Surveyor(
                [path], id_column=None, keep=[], keys=keys, sizes={0: 2, 1: 2}, limit=None, max_line_bytes=99
            )
            return [shard.digest for shard in surveyor.run_checked().shards]

    before = digests(b'{"a":1}\n{"a":2}\n{"a":3}\n{"a":4}\n')
    after = digests(b'{"a":1}\n{"a":2}\n{"a":3}\n{"a":5}\n')
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ bdy }}", "did you mean 'body'"),
        ("{{ body.__class__ }}", "is unsafe"),
        ("{{ ''.__class__.__mro__ }}", "is unsafe"),
        ("{% for n in range(1000000) %}x{% endfor %}", "1,000,000 steps"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
            "more than 1,500,000 steps",
        ),
        ("{{ 1 / 0 }}", "fails on this row"),
        ("{{ body + 1 }}", "fails on this row"),
        ("{{ self.__init__.__globals__ }}", "unsafe"),
    ],
)
def test_a_template_cannot_do_harm(template, told):
    """An unknown column, Python's insides, endless loops and failing operations end in a reason, never in harm."""
    with pytest.raises(TemplateError, match=told):
        Template(template, "prompt").render({"body": "b"})


def test_a_broken_template_is_refused_with_its_line():
    """A template that does not parse is a mistake of the job, told by line."""
    with pytest.raises(JobError, match="line 2"):
        Template("a\n{{ b", "prompt")


def job(**keys) -> Job:
    return Job(**{"model": "gemini-3-pro", "input": "i", "output": "o", **keys})


def planner(model: str = "gemini-3-pro", sandbox: bool = False, **keys) -> Planner:
    return Planner(job(model=model, **keys), builtin_catalogue()[model], sandbox=sandbox)


def row(**columns) -> Row:
    return Row(0, "0", columns, "f", 1)


def key_of(made: Planner, **columns) -> bytes:
    planned = made.plan(row(**columns))
    assert isinstance(planned, Request)
    return planned.key


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def test_request_key_changes_with_all_that_affects_the_answer_and_nothing_else():
    """A changed prompt, system, schema, parameter, model or gateway has another key; streaming and id have not."""
    base = key_of(planner(prompt="Hi {{ a }}"), a="x")
    assert key_of(planner(prompt="Hi {{ a }}", params={"stream": True}, id="b"), a="x", b="y") == base
    others = [
        key_of(planner(prompt="Hi {{ a }}"), a="y"),
        key_of(planner(prompt="Hi, {{ a }}"), a="x"),
        key_of(planner(prompt="Hi {{ a }}", system="s"), a="x"),
        key_of(planner(prompt="Hi {{ a }}", schema=SCHEMA), a="x"),
        key_of(planner(prompt="Hi {{ a }}", schema=SCHEMA, structured="prompt"), a="x"),
        key_of(planner(prompt="Hi {{ a }}", schema={**SCHEMA, "required": ["a"]}), a="x"),
        key_of(planner(prompt="Hi {{ a }}", params={"temperature": 0}), a="x"),
        key_of(planner(prompt="Hi {{ a }}", params={"thinking": "low"}), a="x"),
        key_of(planner("gemini-3-flash", prompt="Hi {{ a }}"), a="x"),
        key_of(planner(sandbox=True, prompt="Hi {{ a }}"), a="x"),
    ]
    assert len({base, *others}) == 1 + len(others)


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-3-flash"])
@pytest.mark.parametrize(
    "columns",
    [
        {"prompt": "hello"},
        {"messages": [{"role": "user", "content": "hello"}]},
        {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
        {"custom_id": "c", "body": {"model": "gpt-x", "messages": [{"role": "user", "content": "hello"}]}},
        {"key": "k", "request": {"contents": [{"parts": [{"text": "hello"}]}]}},
    ],
)
def test_rows_that_carry_their_own_request_run_on_either_model(model, columns):
    """A prompt, messages, contents and both batch lines give the same question on both models."""
    planned = planner(model).plan(row(**columns))
    assert isinstance(planned, Request)
    sent = json.dumps(planned.body)
    assert "hello" in sent
    assert "gpt-x" not in sent
    assert ("messages" in planned.body) == (model == "gemini-3-pro")


def test_what_the_other_protocol_cannot_say_is_refused_not_mangled():
    """A row with fields or parts that the model's protocol has no word for fails with the reason."""
    wrong = [
        ("gemini-3-flash", {"body": {"messages": [{"role": "user", "content": "x"}], "temperature": 1}}),
        ("gemini-3-flash", {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
        ("gemini-3-pro", {"contents": [{"parts": [{"executableCode": {}}]}]}),
        ("gemini-3-pro", {"messages": []}),
        ("gemini-3-pro", {"other": 1}),
    ]
    for model, columns in wrong:
        planned = planner(model).plan(row(**columns))
        assert isinstance(planned, Outcome)
        assert planned.status is Status.FAILED
        assert planned.error_message


def test_where_the_schema_goes_follows_the_pages():
    """Pro takes response_format, but not with tools; Flash documents no field, so the schema goes into the prompt."""
    native = planner(prompt="x", schema=SCHEMA).plan(row())
    assert isinstance(native, Request)
    assert "response_format" in native.body
    for model, keys in (
        ("gemini-3-flash", {}),
        ("gemini-3-pro", {"params": {"search": True}}),
        ("gemini-3-pro", {"tools": [{"name": "f"}]}),
        ("gemini-3-pro", {"structured": "prompt"}),
    ):
        planned = planner(model, prompt="x", schema=SCHEMA, **keys).plan(row())
        assert isinstance(planned, Request)
        assert "response_format" not in planned.body
        assert json.dumps(SCHEMA, separators=(",", ":"))[1:-1] in json.dumps(planned.body).replace('\\"', '"')
    forced = planner("gemini-3-flash", prompt="x", schema=SCHEMA, structured="native").plan(row())
    assert isinstance(forced, Request)
    assert forced.body["generationConfig"]["responseJsonSchema"] == SCHEMA
