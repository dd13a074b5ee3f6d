"""A segment: what is settled is durable, and what was in flight is known afterwards."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from rowmill.schemas.account import Account
from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import StorageError
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.schemas.row import Cursor, Shard
from rowmill.schemas.usage import Usage
from rowmill.tasks.journal.entries import VERSION, Bill, Head, Intent
from rowmill.tasks.journal.group_commit import Syncer
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.journal.segment import Segment

HEAD = Head(VERSION, "job", Shard(0, 0, 100, Cursor("rows.jsonl", 0, 0), "digest"))


def shard_segment(path: Path, syncer: Syncer) -> Segment:
    return Segment(path, HEAD, syncer, room=1 << 16)


def outcome(row: int) -> Outcome:
    return Outcome(f"r{row}", row, Status.OK, output_text='{"a": 1}', spent=Spent(1, Usage(1, 2, 3), Cost(4, 5)))


async def test_segment_settles_and_replays_with_what_was_left_in_flight(tmp_path):
    """Outcomes, paid attempts and open intents survive closing and opening; preallocated room does not stay."""
    syncer = Syncer(asyncio.get_running_loop())
    segment = shard_segment(tmp_path / "s", syncer)
    segment.intend(Intent(1, 1, 10))
    await segment.settle(outcome(1))
    segment.intend(Intent(2, 1, 20, "k2"))
    cut = Spent(1, Usage(9, 9, 9), Cost(7, 7))
    segment.bill(Bill(2, 1, "cut", cut))
    await segment.durable()
    segment.intend(Intent(2, 2, 30))
    segment.close()
    again = shard_segment(tmp_path / "s", syncer)
    assert again.outcome(1) == outcome(1)
    assert list(again.settled) == [1]
    assert again.replayed.accounts == {2: Account("k2", cut, {"cut": 1}, {"cut": 1})}
    assert again.replayed.in_flight == {2: Intent(2, 2, 30)}
    again.close()
    syncer.close()
    assert (tmp_path / "s").read_bytes().endswith(b"\n")


async def test_an_outcome_is_settled_only_when_it_is_durable(tmp_path):
    """A failing sync settles nothing and tells so; what was settled before stands."""
    refuse = False

    def sync(fd: int) -> None:
        if refuse:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(fd)

    syncer = Syncer(asyncio.get_running_loop(), sync)
    segment = shard_segment(tmp_path / "s", syncer)
    await segment.settle(outcome(1))
    refuse = True
    with pytest.raises(StorageError, match="journal cannot be written"):
        await segment.settle(outcome(2))
    assert list(segment.settled) == [1]
    refuse = False
    segment.close()
    syncer.close()


async def test_a_system_that_cannot_preallocate_keeps_a_journal_too(tmp_path, monkeypatch):
    """Without posix_fallocate, as on macOS, outcomes are stored and read back all the same."""
    monkeypatch.delattr(os, "posix_fallocate")
    syncer = Syncer(asyncio.get_running_loop())
    segment = shard_segment(tmp_path / "s", syncer)
    for row in range(200):
        segment.intend(Intent(row, 1, 10))
        await segment.settle(outcome(row))
    segment.close()
    syncer.close()
    found = replay(tmp_path / "s")
    assert found is not None
    assert sorted(found.settled) == list(range(200))
