"""Progress: the projected bill follows the forecast where there is one, else rows without a gap before them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rowmill.schemas.attempt import Spent
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.schemas.usage import Usage
from rowmill.tasks.forecast.regression import Rest, project
from rowmill.tasks.run.expectation import Expectation
from rowmill.tasks.run.progress import AHEAD_MOST, Progress

Rows = list[tuple[int, int]]


def in_order(progress: Progress, rows: Rows) -> None:
    """Settle rows of (input tokens, cost) one after the other."""
    for place, (tokens, cost) in enumerate(rows):
        progress.take_up(place)
        spent = Spent(1, Usage(tokens, 1), Cost(cost, 0))
        progress.add(Outcome(f"r{place}", place, Status.OK, spent=spent))


def some_rows(seed: int) -> Rows:
    """2,000 rows whose cost grows with their input, bent and with noise."""
    rng = random.Random(seed)
    tokens = [round(rng.lognormvariate(6, 0.8)) for _ in range(2_000)]
    return [(one, round((50_000 + 90 * one**1.1) * rng.lognormvariate(0, 0.4))) for one in tokens]


def piloted(rows: Rows, seed: int) -> Expectation:
    """What a pilot of 100 rows, drawn as pilots are, says of them."""
    tokens, costs = np.array(rows, float).T
    sizes = 100_000 + 80 * tokens
    drawn = np.argsort(np.random.default_rng(seed).random(len(rows)) / sizes)[:100]
    rest = Rest(len(rows), float(sizes.sum()), len(rows) / float(sizes.sum()))
    line = project(1 / sizes[drawn], costs[drawn] / sizes[drawn], rest)
    return Expectation(float(tokens.sum()), line.slope + line.intercept * 100_000, line.intercept * 80)


@pytest.mark.parametrize("order", ["shuffled", "ascending", "descending"])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_with_a_forecast_the_projection_holds_in_any_order(order: str, share: float) -> None:
    """At a tenth, a quarter and half of the rows it is within 10 % of the whole bill, sorted either way, for 10 seeds."""
    for seed in range(10):
        rows = some_rows(seed)
        if order != "shuffled":
            rows.sort(reverse=order == "descending")
        progress = Progress(total=len(rows), expectation=piloted(rows, seed))
        in_order(progress, rows[: int(share * len(rows))])
        assert progress.projected_usd == pytest.approx(sum(cost for _, cost in rows), rel=0.10)


@pytest.mark.parametrize(("order", "known"), [("shuffled", True), ("ascending", False), ("descending", False)])
def test_without_a_forecast_a_sorted_input_has_no_projection(order: str, known: bool) -> None:
    """In a shuffled file the projection is near the truth; where costs change along the input it is said to be unknown."""
    for seed in range(10):
        rows = some_rows(seed)
        if order != "shuffled":
            rows.sort(reverse=order == "descending")
        progress = Progress(total=len(rows))
        in_order(progress, rows[:500])
        assert (progress.projected_usd is not None, progress.drifts) == (known, not known)
        if progress.projected_usd is not None:
            assert progress.projected_usd == pytest.approx(sum(cost for _, cost in rows), rel=0.15)


def test_cheap_rows_that_end_first_do_not_make_the_bill_look_small():
    """When dear rows take longer, the projection stays near the truth where the mean of what is settled is far below."""
    rng = random.Random(0)
    costs = [round(rng.lognormvariate(10, 1.0)) for _ in range(4_000)]
    progress = Progress(total=4_000)
    clock, waiting, next_row = 0.0, [], 0
    while progress.settled < 1_500:
        while len(waiting) < 200:
            progress.take_up(next_row)
            # An answer takes as long as it is dear.
            waiting.append((clock + costs[next_row], next_row))
            next_row += 1
        waiting.sort()
        clock, row = waiting.pop(0)
        progress.add(Outcome(f"r{row}", row, Status.OK, spent=Spent(1, cost=Cost(costs[row], 0))))
    truth, naive = sum(costs), progress.usd / progress.settled * 4_000
    assert naive < 0.85 * truth
    assert progress.projected_usd == pytest.approx(truth, rel=0.12)


def test_nothing_is_projected_from_nothing_and_the_end_is_exact():
    """Before the first row there is no projection; at the end it is the bill, rows that stood before included."""
    progress = Progress(total=12, standing=2, usd=50, usd_before=50)
    assert progress.projected_usd is None
    for row in range(10):
        progress.take_up(row)
    for row in reversed(range(10)):
        progress.add(Outcome(f"r{row}", row, Status.OK, spent=Spent(1, cost=Cost(7, 0))))
    assert progress.projected_usd == 50 + 70 == progress.usd


def test_a_row_that_never_ends_holds_nothing_up():
    """Behind a row that is tried for an hour the projection goes on, and what it holds stays bounded."""
    progress = Progress(total=100_000)
    for row in range(50_000):
        progress.take_up(row)
        if row:
            progress.add(Outcome(f"r{row}", row, Status.OK, spent=Spent(1, cost=Cost(7, 0))))
    assert progress.projected_usd == 700_000
    assert len(progress._ahead) <= AHEAD_MOST
