"""Progress: the projected bill is learned from rows without a gap before them."""

from __future__ import annotations

import random

import pytest

from rowmill.schemas.attempt import Spent
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.tasks.run.progress import AHEAD_MOST, Progress


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
