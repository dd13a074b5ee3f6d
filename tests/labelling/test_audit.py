"""Audit: what a random share of the rows tells of all of them, though people look at the doubtful ones first."""

from __future__ import annotations

import random

import pytest

from rowmill.tasks.labelling.audit import Stratum, estimate, is_drawn


def survey(rng: random.Random, *, rows: int, doubtful: float, right: tuple[float, float], share: float, complete: bool):
    """An output of which people judged the doubtful rows (all, or those they liked) and the audit's."""
    strata = Stratum(), Stratum()
    truth = 0
    for number in range(rows):
        in_doubt = rng.random() < doubtful
        correct = rng.random() < right[0 if in_doubt else 1]
        truth += correct
        drawn = is_drawn(f"{rng.random()}-{number}", share)
        # Where they do not finish, people skip most of what the votes had right.
        seen = drawn or (in_doubt and (complete or rng.random() < (0.2 if correct else 0.9)))
        strata[0 if in_doubt else 1].meet(drawn=drawn, correct=correct if seen else None)
    return estimate(*strata), truth / rows


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("right", [(0.5, 0.97), (0.4, 0.9), (0.6, 0.999)])
def test_the_estimate_covers_the_truth(right, complete):
    """In 95 of 100 outputs the truth lies in the interval, and on average the estimate is the truth."""
    rng = random.Random(7)
    covered, off, runs = 0, 0.0, 150
    for _ in range(runs):
        told, truth = survey(rng, rows=1_500, doubtful=0.15, right=right, share=0.08, complete=complete)
        covered += told.low <= truth <= told.high
        off += told.accuracy - truth
    assert covered >= 0.91 * runs
    assert abs(off / runs) < 0.01


def test_the_draw_is_of_its_share_and_grows():
    """About as many rows are drawn as the share says, always the same, and a larger share keeps them."""
    rows = [f"r{n}" for n in range(20_000)]
    drawn = {row for row in rows if is_drawn(row, 0.05)}
    assert 850 < len(drawn) < 1_150
    assert drawn < {row for row in rows if is_drawn(row, 0.1)}
    assert not any(is_drawn(row, 0.0) for row in rows)
    assert all(is_drawn(row, 1.0) for row in rows)


def test_nothing_is_estimated_from_nothing():
    """Without judged rows among the others there is no estimate, however many doubtful ones people judged."""
    doubtful, other = Stratum(), Stratum()
    for _ in range(10):
        doubtful.meet(drawn=False, correct=True)
        other.meet(drawn=False, correct=None)
    assert estimate(doubtful, other) is None
    assert estimate(Stratum(), Stratum()) is None


def test_all_judged_is_no_estimate():
    """Where every row was judged the interval is the share itself."""
    doubtful, other = Stratum(), Stratum()
    for number in range(10):
        (doubtful if number < 3 else other).meet(drawn=True, correct=number > 2)
    told = estimate(doubtful, other)
    assert told is not None
    assert (told.accuracy, told.low, told.high) == (0.7, pytest.approx(0.7), pytest.approx(0.7))
