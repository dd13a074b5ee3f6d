"""The ledger of an output: every closed segment counts once."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import DamageError
from rowmill.schemas.price import Cost
from rowmill.schemas.row import Cursor, Shard
from rowmill.tasks.journal.entries import VERSION, Head
from rowmill.tasks.journal.ledger import Ledger
from rowmill.tasks.journal.replay import Replay

HEAD = Head(VERSION, "job", Shard(0, 0, 100, Cursor("rows.jsonl", 0, 0), "digest"))


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
