"""The journal: replay(write(x)) = x, every cut recovers, every flipped bit is seen."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.attempt import Spent, ToolCall
from rowmill.schemas.errors import DamageError, StorageError
from rowmill.schemas.label import Labelling, Vote
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.schemas.row import Cursor, Shard
from rowmill.schemas.usage import Usage
from rowmill.tasks.journal.entries import VERSION, Bill, Head, Intent, decode_line, encode_line
from rowmill.tasks.journal.group_commit import Syncer
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.journal.segment import Segment

HEAD = Head(VERSION, "job", Shard(0, 0, 100, Cursor("rows.jsonl", 0, 0), "digest"))
counts = st.integers(0, 2**40)
text = st.none() | st.text(st.characters(codec="utf-8"), max_size=40)
spents = st.builds(
    Spent,
    attempts=st.integers(0, 9),
    usage=st.builds(Usage, counts, counts, counts),
    cost=st.none() | st.builds(Cost, counts, counts),
    unknown=st.booleans(),
    unknown_usd=counts,
)
outcomes = st.builds(
    Outcome,
    row_id=st.text(st.characters(codec="utf-8"), max_size=20),
    row_index=st.integers(0, 99),
    status=st.sampled_from(Status),
    keep=st.dictionaries(st.text("abc", max_size=3), st.none() | st.booleans() | st.integers(0, 9) | st.just("x")),
    output_text=text,
    response_text=text,
    spent=spents,
    wasted_usd=st.none() | counts,
    started_at=st.none() | counts,
    tool_calls=st.lists(st.builds(ToolCall, st.just("f"), st.just("{}"), text), max_size=2).map(tuple),
    failures=st.dictionaries(st.sampled_from(["cut", "timeout"]), st.integers(1, 9)),
)
names = st.none() | st.lists(st.sampled_from("ab"), unique=True).map(tuple)
votes = st.builds(Vote, st.just("m"), names, st.just("ok"), text, text, spents, st.none() | counts)
labelled = st.builds(Labelling, names, st.lists(votes, max_size=3).map(tuple), st.none() | st.floats(0, 1), names)
outcomes |= st.builds(msgspec.structs.replace, outcomes, labelling=labelled)
entries = st.one_of(
    outcomes,
    st.builds(Voted, st.integers(0, 99), st.just("m"), outcomes),
    st.builds(Intent, st.integers(0, 99), st.integers(1, 9), counts),
    st.builds(Bill, st.integers(0, 99), st.integers(1, 9), st.just("cut"), spents),
)


@given(entries)
def test_a_line_reads_back_as_it_was_written(entry):
    """decode(encode(x)) = x for every kind of entry."""
    line = encode_line(entry)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_line(line[:-1]) == entry


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(outcomes, max_size=6))
def test_every_cut_of_the_tail_recovers(tmp_path, written):
    """A segment cut at any byte replays to the entries that were whole, and nothing else."""
    path = tmp_path / "segment"
    lines = [encode_line(HEAD), *(encode_line(outcome) for outcome in written)]
    whole = b"".join(lines)
    ends = [sum(map(len, lines[: n + 1])) for n in range(len(lines))]
    for cut in range(0, len(whole) + 1, max(1, len(whole) // 60)):
        path.write_bytes(whole[:cut] + b"\0" * 64)
        found: list[Outcome] = []
        replayed = replay(path, found.append)
        complete = sum(end <= cut for end in ends)
        assert (replayed is None) == (complete == 0)
        assert found == written[: max(0, complete - 1)]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(outcomes, min_size=2, max_size=4), st.data())
def test_every_flipped_bit_is_seen(tmp_path, written, data):
    """A flipped bit never changes what is read: the line is refused as damage, or cut off where it is the last."""
    path = tmp_path / "segment"
    whole = bytearray(b"".join([encode_line(HEAD), *(encode_line(outcome) for outcome in written)]))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    found: list[Outcome] = []
    try:
        replay(path, found.append)
    except DamageError as error:
        assert "segment" in str(error)
        return
    assert found == written[: len(found)]
    assert len(found) < len(written)


def test_votes_of_a_row_are_read_back_until_it_is_settled(tmp_path):
    """A segment gives back the votes of rows that have no outcome yet, with what they cost and what was tried since."""
    path = tmp_path / "segment"
    cost = Spent(1, Usage(10, 2, 3), Cost(7, 70))
    vote = Outcome("r1", 1, Status.OK, output_text="{}", spent=cost)
    lines = [HEAD, Bill(1, 1, "timeout", Spent(1)), Voted(1, "m", vote), Bill(1, 1, "cut", cost), Voted(2, "m", vote)]
    path.write_bytes(b"".join(map(encode_line, [*lines, Outcome("r2", 2, Status.OK, spent=cost)])))
    found = replay(path)
    assert found is not None
    assert found.accounts == {
        1: Account(spent=cost, failures={"cut": 1}, charged={"cut": 1}, votes=(Voted(1, "m", vote),))
    }
    assert found.unsettled == cost + cost


def test_a_checksum_in_capitals_is_not_as_it_was_written():
    """The bit that makes a letter of the checksum a capital is seen like any other."""
    line = encode_line(HEAD)[:-1]
    with pytest.raises(ValueError, match="checksum"):
        decode_line(line[:8].upper() + line[8:])


def shard_segment(path: Path, syncer: Syncer) -> Segment:
    return Segment(path, HEAD, syncer, 1 << 16)


def outcome(row: int) -> Outcome:
    return Outcome(f"r{row}", row, Status.OK, output_text='{"a": 1}', spent=Spent(1, Usage(1, 2, 3), Cost(4, 5)))


def test_segment_settles_and_replays_with_what_was_left_in_flight(tmp_path):
    """Outcomes, paid attempts and open intents survive closing and opening; preallocated room does not stay."""

    async def scenario() -> None:
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

    asyncio.run(scenario())
    assert (tmp_path / "s").read_bytes().endswith(b"\n")


def test_an_outcome_is_settled_only_when_it_is_durable(tmp_path):
    """A failing sync settles nothing and tells so; what was settled before stands."""
    refuse = False

    def sync(fd: int) -> None:
        if refuse:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(fd)

    async def scenario() -> None:
        nonlocal refuse
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

    asyncio.run(scenario())


def test_many_settle_in_few_syncs(tmp_path):
    """Outcomes that wait together share a sync: natural group commit."""
    syncs = 0

    def sync(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        os.fdatasync(fd)

    async def scenario() -> None:
        syncer = Syncer(asyncio.get_running_loop(), sync)
        segment = shard_segment(tmp_path / "s", syncer)
        await asyncio.gather(*(segment.settle(outcome(row)) for row in range(100)))
        segment.close()
        syncer.close()

    asyncio.run(scenario())
    assert syncs < 50
