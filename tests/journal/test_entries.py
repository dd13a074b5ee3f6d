"""Journal entries as lines with a checksum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.attempt import Spent, ToolCall
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.schemas.row import Cursor, Shard
from rowmill.schemas.usage import Usage
from rowmill.tasks.journal.entries import VERSION, Bill, Head, Intent, Opened, decode_line, encode_line

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
    output_text=text,
    response_text=text,
    spent=spents,
    wasted_usd=st.none() | counts,
    started_at=st.none() | counts,
    tool_calls=st.lists(st.builds(ToolCall, st.just("f"), st.just("{}"), text), max_size=2).map(tuple),
    failures=st.dictionaries(st.sampled_from(["cut", "timeout"]), st.integers(1, 9)),
)
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


def test_a_checksum_in_capitals_is_not_as_it_was_written():
    """The bit that makes a letter of the checksum a capital is seen like any other."""
    line = encode_line(HEAD)[:-1]
    with pytest.raises(ValueError, match="checksum"):
        decode_line(line[:8].upper() + line[8:])


def test_entries_of_one_row_are_written_as_before() -> None:
    """An output goes on under the version that began it as long as no rows share a call."""
    assert b"joined" not in encode_line(Intent(3, 1, 50, "ab"))
    assert b"joined" not in encode_line(Bill(3, 1, None, Spent(1)))
