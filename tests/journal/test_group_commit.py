"""Syncs are shared."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from rowmill.schemas.attempt import Spent
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.schemas.row import Cursor, Shard
from rowmill.schemas.usage import Usage
from rowmill.tasks.journal import group_commit
from rowmill.tasks.journal.entries import VERSION, Head
from rowmill.tasks.journal.group_commit import Syncer, pause_s
from rowmill.tasks.journal.segment import Segment

HEAD = Head(VERSION, "job", Shard(0, 0, 100, Cursor("rows.jsonl", 0, 0), "digest"))


def shard_segment(path: Path, syncer: Syncer) -> Segment:
    return Segment(path, HEAD, syncer, room=1 << 16)


def outcome(row: int) -> Outcome:
    return Outcome(f"r{row}", row, Status.OK, output_text='{"a": 1}', spent=Spent(1, Usage(1, 2, 3), Cost(4, 5)))


async def test_many_settle_in_few_syncs(tmp_path):
    """Outcomes that wait together share a sync: natural group commit."""
    syncs = 0

    def sync(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        os.fdatasync(fd)

    syncer = Syncer(asyncio.get_running_loop(), sync)
    segment = shard_segment(tmp_path / "s", syncer)
    await asyncio.gather(*(segment.settle(outcome(row)) for row in range(100)))
    segment.close()
    syncer.close()
    assert syncs < 50


async def test_a_file_is_closed_in_the_pause_between_two_objects(tmp_path, monkeypatch):
    """What is written is durable, and whoever closes the file does not wait until the next object may be put."""
    monkeypatch.setattr(group_commit, "pause_s", lambda took_s, *, away: 60.0)
    syncer = Syncer(asyncio.get_running_loop(), keep=lambda path, end: None)
    segment = shard_segment(tmp_path / "s", syncer)
    await segment.settle(outcome(0))
    await asyncio.wait_for(asyncio.to_thread(segment.close), 30)
    syncer.close()


@pytest.mark.parametrize(("took_s", "waits_s"), [(0.0, 0.05), (0.03, 0.02), (0.05, 0.005), (0.4, 0.005)])
def test_a_bucket_gets_at_most_twenty_objects_a_second(took_s, waits_s):
    """What a put took counts as part of the pause after it: a slow bucket's answers are not held up twice."""
    assert pause_s(took_s, away=True) == pytest.approx(waits_s)
    assert pause_s(took_s, away=False) == 0.005
