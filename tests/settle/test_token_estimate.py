"""What calls will use is learned by the row, however many rows they ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.usage import Usage
from rowmill.tasks.settle.token_estimate import TokenEstimate


def test_calls_of_ten_rows_teach_what_one_row_takes() -> None:
    """A row that is asked alone after packs of ten reserves a tenth of their output, and a pack ten times its own."""
    estimate = TokenEstimate()
    for _ in range(50):
        estimate.learn(4_000, Usage(1_000, 400, 100), rows=10)
    alone, packed = estimate.tokens(4_000, 10_000, 9), estimate.tokens(4_000, 10_000, 9, rows=10)
    assert 1_050 <= alone <= 1_060
    assert 1_500 <= packed <= 1_510


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from((1, 3, 7, 10))), min_size=1, max_size=30))
def test_whatever_was_seen_there_is_an_estimate(calls: list[tuple[int, int]]) -> None:
    """Rounding never makes of answers alike ones that stray by less than nothing."""
    estimate = TokenEstimate()
    for output, rows in calls * 2:
        estimate.learn(400, Usage(100, output), rows)
        assert estimate.variance >= 0
        assert 0 <= estimate.tokens(400, 10**7, 3, rows=rows) < 10**8
