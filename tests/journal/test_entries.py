"""Journal entries as lines with a checksum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.attempt import Spent
from rowmill.tasks.journal.entries import Bill, Intent, Opened, decode_line, decode_outcomes, encode_line
from tests.journal.generated import HEAD, counts, outcomes, spents

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


@given(rows=st.lists(outcomes, max_size=4), data=st.data())
def test_outcomes_read_together_are_those_read_one_by_one(rows, data) -> None:
    """Many lines give the outcomes that each gives; one whose bytes changed, or of another kind, refuses them all."""
    lines = [encode_line(row) for row in rows]
    assert decode_outcomes(lines) == rows
    wrong = encode_line(Intent(3, 1, 50))
    if lines:
        flipped = bytearray(lines[at := data.draw(st.integers(0, len(lines) - 1))])
        flipped[data.draw(st.integers(0, len(flipped) - 2))] ^= 1 << data.draw(st.integers(0, 7))
        with pytest.raises(ValueError, match="checksum"):
            decode_outcomes([*lines[:at], bytes(flipped), *lines[at + 1 :]])
    with pytest.raises(ValueError, match="checksum"):
        decode_outcomes([*lines, wrong])
