"""What workers wrote becomes the shard's own journal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.row import Cursor, Shard
from rowmill.tasks.cluster.worker_segments import WorkerLayout, adopt, adopt_all, begin, left_away
from rowmill.tasks.journal.entries import VERSION, Head, encode_line
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.output.layout import Layout, segments_in

SHARD = Shard(3, 100, 50, Cursor("rows.jsonl", 0, 0), "d")


def outcome(row: int) -> Outcome:
    return Outcome(f"r{row}", row, Status.OK)


def segment(path: Path, *rows: int) -> None:
    path.write_bytes(b"".join(map(encode_line, [Head(VERSION, "j", SHARD), *map(outcome, rows)])))


@pytest.mark.parametrize("closed", [True, False])
def test_what_a_worker_wrote_becomes_the_shards_own(tmp_path, closed):
    """It begins with what was settled before, and is taken over; what a worker writes later is nowhere."""
    layout, own = WorkerLayout(tmp_path, "t_1"), Layout(tmp_path)
    layout.journal.mkdir()
    segment(own.segment_path(3), 101)
    begin(layout, SHARD)
    away = layout.segment_path(3)
    with open(away, "ab") as late:
        late.write(encode_line(outcome(102)))
        late.flush()
        os.write(late.fileno(), b"" if closed else b"torn")
        assert segments_in(layout.journal) == {3: away}
        adopt(away, closed=closed)
        assert left_away(layout.journal) == []
        if not closed:
            late.write(encode_line(outcome(103)))
            late.flush()
    found = replay(own.segment_path(3))
    assert found is not None
    assert sorted(found.settled) == [101, 102]


def test_of_two_that_were_left_the_fuller_is_taken(tmp_path):
    """Should two workers have left a segment of one shard, the one that holds more is the shard's own."""
    one, two, own = WorkerLayout(tmp_path, "a_1"), WorkerLayout(tmp_path, "b_1"), Layout(tmp_path)
    one.journal.mkdir()
    segment(one.segment_path(3), 101, 102, 103)
    segment(two.segment_path(3), 101)
    adopt_all(one.journal)
    found = replay(own.segment_path(3))
    assert found is not None
    assert sorted(found.settled) == [101, 102, 103]
