"""The journal: replay(write(x)) = x, every cut recovers, every flipped bit is seen."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
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
from rowmill.tasks.journal.entries import VERSION, Bill, Head, Intent, Opened, decode_line, encode_line
from rowmill.tasks.journal.group_commit import Syncer
from rowmill.tasks.journal.ledger import Ledger
from rowmill.tasks.journal.replay import Replay, replay
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
    st.builds(Bill, st.integers(0, 99), st.integers(1, 9), st.none() | st.just("cut"), spents),
    st.builds(Opened, st.integers(0, 99), st.builds(Account, st.just("k"), spents)),
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


def test_shards_that_end_at_once_are_all_in_the_ledger(tmp_path):
    """Segments closed by many threads at the same moment each count once, in the file as in memory."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    replays = [Replay(msgspec.structs.replace(HEAD, id=f"s{n}"), billed=Spent(1, cost=Cost(n, n))) for n in range(64)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda one: ledger.close("segment", one), [*replays, *replays]))
    expected = Spent(64, cost=Cost(sum(range(64)), sum(range(64))))
    assert ledger.spent == Ledger(tmp_path / "ledger.jsonl").spent == expected


def test_a_segment_closed_twice_counts_once(tmp_path):
    """A kill between the closing of a segment and its going, and the closing again, leave the sum as it is."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    found = Replay(msgspec.structs.replace(HEAD, id="s"), billed=Spent(2, cost=Cost(5, 50)))
    ledger.close("segment", found)
    again = Ledger(tmp_path / "ledger.jsonl")
    assert again.holds("s")
    again.close("segment", found)
    assert again.spent == Spent(2, cost=Cost(5, 50))


@given(st.integers(0, 400))
def test_a_torn_line_of_the_ledger_is_left_out(cut):
    """A ledger cut anywhere in its last line tells the lines before it, and is written on from there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        ledger = Ledger(path)
        for n in range(3):
            ledger.close("segment", Replay(msgspec.structs.replace(HEAD, id=f"s{n}"), billed=Spent(1)))
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        kept = whole[: max(len(whole) - cut, len(lines[0]) + len(lines[1]))]
        path.write_bytes(kept)
        torn = Ledger(path)
        assert torn.spent.attempts == kept.count(b"\n")
        torn.close("segment", Replay(msgspec.structs.replace(HEAD, id="new"), billed=Spent(1)))
        assert Ledger(path).spent.attempts == kept.count(b"\n") + 1


def test_a_damaged_line_of_the_ledger_is_not_passed_over(tmp_path):
    """A flipped bit before good lines is damage: what was spent would be told too low."""
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    for n in range(2):
        ledger.close("segment", Replay(msgspec.structs.replace(HEAD, id=f"s{n}"), billed=Spent(1)))
    held = bytearray(path.read_bytes())
    held[20] ^= 1
    path.write_bytes(bytes(held))
    with pytest.raises(DamageError, match="line 1"):
        Ledger(path)


@given(st.lists(st.tuples(st.sampled_from("IBVOA"), st.integers(0, 3), spents), max_size=40))
def test_what_was_sent_is_the_sum_of_bills_and_open_intents(told):
    """Whatever becomes of its rows, a segment's attempts are counted once each: by their bill, or at their worst case."""
    found, expected, flying = Replay(HEAD), Spent(), {}
    for kind, row, spent in told:
        match kind:
            case "I" if row not in flying:
                flying[row] = Intent(row, 1, 7, "k")
                found.see(flying[row], 0, 0)
            case "B" if flying.pop(row, None) is not None:
                found.see(Bill(row, 1, None, spent), 0, 0)
                expected = expected + spent
            case "V" if row not in flying:
                found.see(Voted(row, "m", Outcome(f"r{row}", row, Status.OK, spent=spent)), 0, 0)
            case "O" if row not in flying:
                found.see(Outcome(f"r{row}", row, Status.OK, spent=spent), 0, 0)
            case "A" if row not in flying:
                found.see(Opened(row, Account("k", spent)), 0, 0)
    lost = Spent(len(flying), unknown=bool(flying), unknown_usd=7 * len(flying))
    assert found.sent == expected + lost


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
