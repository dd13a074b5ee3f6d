"""Reading a journal back: every cut recovers, every flipped bit is seen, every attempt counts once."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.account import Account, Declined, Voted
from rowmill.schemas.attempt import Answer, Spent
from rowmill.schemas.errors import DamageError
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.schemas.row import NO_SHARD
from rowmill.schemas.usage import Usage
from rowmill.tasks.journal.entries import VERSION, Bill, Head, Intent, Opened, PackBill, PackIntent, encode_line
from rowmill.tasks.journal.replay import Replay, replay
from tests.journal.generated import HEAD, outcomes, spents


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


def test_answers_that_were_asked_again_for_are_read_back_until_a_vote_or_an_outcome(tmp_path):
    """With what each cost; a vote has its own."""
    path = tmp_path / "segment"
    cost, answer = Spent(1, Usage(10, 2, 3), Cost(7, 70)), Answer('{"a": "\u00e9"}', Usage(10, 2, 3), "stop", "m")
    bills = [Bill(1, 1, "unsupported_field", cost, answer), Bill(1, 2, "timeout", Spent(1))]
    path.write_bytes(b"".join(map(encode_line, [HEAD, *bills, Bill(2, 1, "cut", cost, answer)])))
    found = replay(path)
    assert found is not None
    assert found.account(1).declined == found.account(2).declined == (Declined(answer, Cost(7, 70)),)
    found.see(Voted(1, "m", outcome(1)), 0, 0)
    found.see(outcome(2), 0, 0)
    assert found.account(1).declined == found.account(2).declined == ()


def outcome(row: int) -> Outcome:
    return Outcome(f"r{row}", row, Status.OK, output_text='{"a": 1}', spent=Spent(1, Usage(1, 2, 3), Cost(4, 5)))


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


def test_an_account_that_stands_elsewhere_too_is_counted_there() -> None:
    """What a row goes on from, while the row that paid for it stands open, is unsettled once; its own calls are here."""
    found, spent, more = Replay(HEAD), Spent(1, Usage(10, 5, 1), Cost(100, 7)), Spent(1, Usage(9, 4, 0), Cost(30, 2))
    found.see(Opened(0, Account("k", spent), stands=True), 0, 0)
    found.see(Opened(1, Account("l", spent)), 0, 0)
    assert found.unsettled == spent
    found.see(Intent(0, 1, 99, "k"), 0, 0)
    found.see(Bill(0, 1, "server_error", more), 0, 0)
    assert found.unsettled == spent + more
    assert found.account(0).total == spent + more
    found.see(Outcome("r0", 0, Status.OK, spent=spent + more), 0, 0)
    assert found.unsettled == spent
    assert found.sent == more


# A call for several rows: one intent, one bill, each in shares that add up.
WORST = 1_000_003
SHARES = (333_335, 333_334, 333_334)


def pack_intent() -> PackIntent:
    parts = (Intent(row, 1, share, f"{row:032x}", joined=row > 0) for row, share in enumerate(SHARES))
    return PackIntent(tuple(parts))


def pack_bill() -> PackBill:
    kinds = (None, "missing_entry", None)
    spent = (Spent(1, Usage(10, 5, 1), Cost(100 + row, 7), joined=int(row > 0)) for row in range(3))
    return PackBill(tuple(Bill(row, 1, kind, one) for row, (kind, one) in enumerate(zip(kinds, spent, strict=True))))


def replayed(folder: Path, content: bytes) -> Replay:
    path = folder / "segment-000000.jsonl"
    path.write_bytes(encode_line(Head(VERSION, "job", NO_SHARD, "id")) + content)
    found = replay(path)
    assert found is not None
    return found


def test_a_call_left_in_flight_is_one_call_at_its_worst_case_once(tmp_path: Path) -> None:
    """Each of its rows may be asked again; together they bear what the call may have cost, not three times that."""
    found = replayed(tmp_path, encode_line(pack_intent()))
    assert sorted(found.in_flight) == [0, 1, 2]
    assert (found.lost.calls, found.lost.attempts, found.lost.unknown_usd) == (1, 3, WORST)
    assert found.sent == found.lost


def test_a_bill_is_one_line_and_settles_every_row_of_its_call(tmp_path: Path) -> None:
    """Afterwards nothing is in flight, each row has its share, and a failure is charged to its row alone."""
    found = replayed(tmp_path, encode_line(pack_intent()) + encode_line(pack_bill()))
    assert not found.in_flight
    assert (found.sent.calls, found.sent.cost, found.sent.unknown_usd) == (1, Cost(303, 21), 0)
    assert [found.account(row).charged for row in range(3)] == [{}, {"missing_entry": 1}, {}]
    assert [found.account(row).key for row in range(3)] == [f"{row:032x}" for row in range(3)]


def test_a_bill_that_is_torn_is_no_bill_of_any_row(tmp_path: Path) -> None:
    """Wherever the line ends, the call is in flight as a whole: known and bound never mix shares of two weights."""
    line = encode_line(pack_bill())
    for end in range(0, len(line) - 1, 7):
        found = replayed(tmp_path, encode_line(pack_intent()) + line[:end])
        assert (found.billed, found.lost.unknown_usd) == (Spent(), WORST)
