"""Evidence: when a refusal is a row's, when it is every row's, and who is charged for waiting."""

from __future__ import annotations

import pytest

from rowmill.tasks.settle.evidence import NEAR_S, THROTTLED_LEAST, THROTTLED_MOST_S, Evidence, is_alone


@pytest.mark.parametrize(("concurrency", "calls"), [(1, 2), (2, 2), (4, 4), (8, 8), (256, 8)])
def test_refusals_of_every_row_are_known_within_the_calls_in_flight(concurrency, calls):
    """Nothing was answered yet: as many refusals as calls may be in flight are every row's, and never more than eight."""
    evidence = Evidence(concurrency)
    assert [evidence.refused() for _ in range(calls)] == [False] * (calls - 1) + [True]


def test_an_answer_between_refusals_makes_them_the_rows_own():
    """However many rows are refused, they are not every row while others are answered."""
    evidence = Evidence(16)
    for _ in range(1_000):
        assert not any(evidence.refused() for _ in range(7))
        evidence.answered()


@pytest.mark.parametrize(
    ("answered", "throttled", "alone"),
    [(0, 0, True), (0, 1, False), (1, 0, True), (9, 1, False), (10, 1, True), (100, 30, False), (100, 10, True)],
)
def test_a_row_is_charged_for_waiting_only_where_it_waits_alone(answered, throttled, alone):
    """A fleet that is throttled together is not charged; a row that is throttled while others go through is."""
    assert is_alone(answered, throttled) is alone


def test_throttling_that_outlasts_every_limit_of_pace_ends():
    """Every call refused as too fast for ten minutes is no pace; one answer between begins the time anew."""
    evidence = Evidence(8)
    times = [n * THROTTLED_MOST_S / THROTTLED_LEAST for n in range(THROTTLED_LEAST + 1)]
    assert [evidence.throttle(1, now) for now in times] == [False] * THROTTLED_LEAST + [True]
    evidence.answered()
    assert not evidence.throttle(1, times[-1] + 1)


def test_rows_that_are_throttled_alone_do_not_excuse_each_other():
    """Two rows that are each too large do not count as a fleet that waits."""
    evidence = Evidence(8)
    evidence.suspect(1)
    evidence.throttle(1, 0.0)
    assert evidence.throttled == 0
    evidence.settled(1)
    evidence.throttle(1, 1.0)
    assert evidence.throttled == 1


@pytest.mark.parametrize(
    ("answers", "rows", "few"), [(20, 2, True), (19, 2, False), (1_000, 64, True), (100, 64, False)]
)
def test_few_rows_that_are_still_refused_at_the_end_are_no_fleet(answers, rows, few):
    """Where nobody else is left, rows that are refused beyond any limit of a minute are told from a fleet by their number."""
    evidence = Evidence(64)
    for _ in range(answers):
        evidence.answered()
    for row in range(rows):
        evidence.throttle(row, 0.0)
    assert not evidence.few_are_left(NEAR_S - 1)
    assert evidence.few_are_left(NEAR_S) is few
    for row in range(rows):
        evidence.settled(row)
    evidence.answered()
    assert not evidence.few_are_left(NEAR_S)
