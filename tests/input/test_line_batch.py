"""Lines that are read, cut and hashed some at a time are the same as one by one."""

from __future__ import annotations

from hashlib import blake2b

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.row import Cursor
from rowmill.tasks.input import stream
from rowmill.tasks.input.files import RAW_SHOWN, InputFile, Line
from rowmill.tasks.input.formats import line_batches, lines
from rowmill.tasks.input.key_index import id_key, id_keys
from rowmill.tasks.input.key_table import key_array
from rowmill.tasks.input.line_batch import together
from rowmill.tasks.input.shard_cut import RowFeed, ShardCut
from rowmill.tasks.input.stream import too_long

MOST = 12
texts = st.lists(
    st.sampled_from([b"", b"\n", b"\n\n", b" ", b"\r\n", b"{}", b'{"a":1}\n', b"x" * 9, b"\0"]), max_size=30
)


def one_by_one(content: bytes) -> list[Line]:
    """The lines of a text, taken apart by hand."""
    found, offset = [], 0
    *whole, last = content.split(b"\n")
    raws = [line + b"\n" for line in whole] + ([last] if last else [])
    for number, raw in enumerate(raws, 1):
        long = len(raw.removesuffix(b"\n")) > MOST
        begins = raw[: min(MOST + 1, RAW_SHOWN)] if long else raw
        found.append(Line(offset, number, begins, problem=too_long(MOST) if long else None))
        offset += len(raw)
    while found and found[-1].problem is None and not found[-1].raw.strip():
        found.pop()
    return found


@pytest.fixture(params=[1, 5, 1 << 17])
def block(request, monkeypatch):
    """Bytes that are read at a time: lines end anywhere in them."""
    monkeypatch.setattr(stream, "BLOCK", request.param)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(pieces=texts, at=st.integers(0, 40), end=st.none() | st.integers(1, 12))
def test_lines_are_those_of_the_text(tmp_path, block, pieces, at, end):
    """From any line on and up to any, whatever their lengths, with blank ones in the middle and none at the end."""
    content = b"".join(pieces)
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    expected = one_by_one(content)[at:]
    start = Cursor("", expected[0].offset, at) if expected else Cursor("", len(content), at)
    expected = [line for line in expected if end is None or line.number <= end]
    file = InputFile(path, "jsonl", end=end)
    assert list(lines(file, start, MOST)) == expected
    batches = list(line_batches(file, start, MOST))
    assert [line for batch in batches for line in batch.each()] == expected
    assert all(len(batch) for batch in batches)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(pieces=texts, sizes=st.lists(st.integers(1, 4), min_size=1, max_size=12), limit=st.none() | st.integers(1, 9))
def test_a_shard_is_the_same_however_its_lines_were_read(tmp_path, block, pieces, sizes, limit):
    """Cut at any rows, over two files, batches give each line once, and a digest of the lines by themselves."""
    files = []
    for number in range(2):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(b"".join(pieces[number::2]))
        files.append(InputFile(path, "jsonl"))
    everything = [line for file in files for line in one_by_one(file.place.read_bytes())][:limit]
    feed, at = RowFeed(files, MOST, limit), 0
    for size in sizes:
        cut, same = ShardCut(0, 0, Cursor("", 0, 0)), ShardCut(0, 0, Cursor("", 0, 0))
        taken = []
        for batch, file in feed.take(size):
            cut.add(batch, file)
            taken += batch.each()
        assert taken == everything[at : at + size]
        for batch in together(taken):
            same.add(batch, "")
        told = b"".join(len(line.raw).to_bytes(8, "little") + line.raw for line in taken)
        assert cut.shard().digest == same.shard().digest == blake2b(told, digest_size=16).hexdigest()
        assert (cut.rows, cut.length) == (len(taken), sum(len(line.raw) for line in taken))
        at += size


@given(ids=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=20))
def test_an_id_is_known_by_the_same_wherever_it_is_read(ids):
    """The key of an id is that of a results column, whatever its characters; other ids have other keys."""
    column = pa.chunked_array([pa.array(ids[:3], pa.string()), pa.array(ids[3:], pa.string())])
    keys = [id_key(one) for one in ids]
    assert id_keys(column).tolist() == key_array(keys).tolist()
    assert len(set(keys)) == len(set(ids))
