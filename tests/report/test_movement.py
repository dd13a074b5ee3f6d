"""What moved: the tests are those of the textbooks, and a quiet month has about no marks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportions_ztest

from rowmill.schemas.history import FILLED, LABEL, STATUS
from rowmill.tasks.report.movement import ALPHA, compared, fisher, student_tail, two_proportions

counts = st.integers(1, 300).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


@given(counts, counts)
def test_small_counts_are_judged_as_by_scipys_fisher(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Fisher's exact test gives scipy's p."""
    table = [[one[0], one[1] - one[0]], [other[0], other[1] - other[0]]]
    assert fisher(one, other) == pytest.approx(stats.fisher_exact(table).pvalue, abs=1e-9)


@given(st.integers(2_000, 10**8), st.integers(2_000, 10**8), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_large_counts_are_judged_as_by_statsmodels(n: int, m: int, p: float, q: float) -> None:
    """The score test of two proportions gives statsmodels' p."""
    one, other = (round(n * p), n), (round(m * q), m)
    expected = proportions_ztest([one[0], other[0]], [n, m])[1]
    assert two_proportions(one, other) == pytest.approx(expected, rel=1e-6, abs=1e-300)


@pytest.mark.parametrize("freedom", [1, 2, 3, 6, 7, 29])
def test_students_t_is_scipys(freedom: int) -> None:
    """Two-sided tails of Student's t."""
    for t in (0.0, 0.7, 2.0, 9.0):
        assert student_tail(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), abs=1e-12)


def nights(rng: random.Random, count: int, rows: int, spread: float) -> list[dict[str, dict[str, tuple[int, int]]]]:
    """Nights of 12 fields whose fill rates vary from night to night by so much."""
    made = []
    for _ in range(count):
        night = {}
        for field in range(12):
            rate = min(0.99, max(0.01, 0.2 + 0.05 * field + rng.gauss(0, spread)))
            night[f"f{field}"] = (sum(rng.random() < rate for _ in range(rows)), rows)
        made.append({FILLED: night})
    return made


@pytest.mark.parametrize("spread", [0.0, 0.06])
def test_quiet_nights_bear_about_no_marks(spread: float) -> None:
    """Of 60 nights without a change, alike or restless, at most four have any mark (1 in 100 is promised)."""
    rng = random.Random(4)
    marked = 0
    for _ in range(60):
        *before, now = nights(rng, 9, 150, spread)
        marked += any(one.moved for one in compared(now, before))
    assert marked <= 4


def test_a_field_that_is_left_empty_is_seen_and_named_first() -> None:
    """A fill rate that falls from 60 % to 30 % over 150 rows is marked, and nothing else."""
    *before, now = nights(random.Random(7), 9, 150, 0.0)
    now[FILLED]["f8"] = (45, 150)
    found = compared(now, before)
    assert [one.name for one in found if one.moved] == ["f8"]
    assert found[0].name == "f8"
    assert found[0].low < found[0].difference < found[0].high < 0
    assert (found[0].before_of, found[0].nights) == (8 * 150, 8)


def test_a_label_that_is_gone_or_new_counts_as_none() -> None:
    """A label that no row has tonight was given 0 times; a field that was not there before is compared with nothing."""
    before = [{LABEL: {"spam": (30, 100), "ham": (70, 100)}}] * 3
    now = {LABEL: {"ham": (60, 100), "eggs": (40, 100)}, FILLED: {"new": (1, 100)}}
    found = {one.name: one for one in compared(now, before)}
    assert found.keys() == {"spam", "ham", "eggs"}
    assert (found["spam"].rate, found["eggs"].before) == (0, 0)
    assert found["spam"].moved
    assert found["eggs"].moved


def test_few_rows_and_what_never_varies_say_nothing() -> None:
    """Nine rows are too few to be looked at; a status that no row ever had costs the correction nothing."""
    before = [{STATUS: {"ok": (100, 100), "failed": (0, 100)}}] * 4
    assert not compared({STATUS: {"ok": (0, 9), "failed": (9, 9)}}, before)
    found = compared({STATUS: {"ok": (100, 100), "failed": (0, 100)}}, before)
    assert [one.p_value for one in found] == [1.0, 1.0]
    assert not any(one.moved for one in found)
    assert ALPHA == 0.01
