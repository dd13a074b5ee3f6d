"""A call for several rows in the journal: one intent, one bill, each in shares that add up."""

from __future__ import annotations

from pathlib import Path

from rowmill.schemas.attempt import Spent
from rowmill.schemas.price import Cost
from rowmill.schemas.row import NO_SHARD
from rowmill.schemas.usage import Usage
from rowmill.tasks.journal.entries import VERSION, Bill, Head, Intent, PackBill, PackIntent, encode_line
from rowmill.tasks.journal.replay import Replay, replay

WORST = 1_000_003
SHARES = (333_335, 333_334, 333_334)


def intent() -> PackIntent:
    parts = (Intent(row, 1, share, f"{row:032x}", joined=row > 0) for row, share in enumerate(SHARES))
    return PackIntent(tuple(parts))


def bill() -> PackBill:
    kinds = (None, "missing_entry", None)
    spent = (Spent(1, Usage(10, 5, 1), Cost(100 + row, 7), joined=int(row > 0)) for row in range(3))
    return PackBill(tuple(Bill(row, 1, kind, one) for row, (kind, one) in enumerate(zip(kinds, spent, strict=True))))


def written(folder: Path, content: bytes) -> Replay:
    path = folder / "segment-000000.jsonl"
    path.write_bytes(encode_line(Head(VERSION, "job", NO_SHARD, "id")) + content)
    found = replay(path)
    assert found is not None
    return found


def test_a_call_left_in_flight_is_one_call_at_its_worst_case_once(tmp_path: Path) -> None:
    """Each of its rows may be asked again; together they bear what the call may have cost, not three times that."""
    found = written(tmp_path, encode_line(intent()))
    assert sorted(found.in_flight) == [0, 1, 2]
    assert (found.lost.calls, found.lost.attempts, found.lost.unknown_usd) == (1, 3, WORST)
    assert found.sent == found.lost


def test_a_bill_is_one_line_and_settles_every_row_of_its_call(tmp_path: Path) -> None:
    """Afterwards nothing is in flight, each row has its share, and a failure is charged to its row alone."""
    found = written(tmp_path, encode_line(intent()) + encode_line(bill()))
    assert not found.in_flight
    assert (found.sent.calls, found.sent.cost, found.sent.unknown_usd) == (1, Cost(303, 21), 0)
    assert [found.account(row).charged for row in range(3)] == [{}, {"missing_entry": 1}, {}]
    assert [found.account(row).key for row in range(3)] == [f"{row:032x}" for row in range(3)]


def test_a_bill_that_is_torn_is_no_bill_of_any_row(tmp_path: Path) -> None:
    """Wherever the line ends, the call is in flight as a whole: known and bound never mix shares of two weights."""
    line = encode_line(bill())
    for end in range(0, len(line) - 1, 7):
        found = written(tmp_path, encode_line(intent()) + line[:end])
        assert (found.billed, found.lost.unknown_usd) == (Spent(), WORST)


def test_entries_of_one_row_are_written_as_before() -> None:
    """An output goes on under the version that began it as long as no rows share a call."""
    assert b"joined" not in encode_line(Intent(3, 1, 50, "ab"))
    assert b"joined" not in encode_line(Bill(3, 1, None, Spent(1)))
