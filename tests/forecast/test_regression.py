"""Forecast intervals cover the truth as often as they claim, by simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rowmill.tasks.forecast.regression import project

Population = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def lognormal(spread: float, correlation: float) -> Population:
    def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        shared, own = rng.standard_normal(count), rng.standard_normal(count)
        outputs = np.exp(5 + spread * (correlation * shared + np.sqrt(1 - correlation**2) * own))
        return np.exp(6 + 0.6 * shared), outputs

    return draw


def bimodal(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    long = rng.random(count) < 0.1
    return (
        np.where(long, rng.lognormal(9, 0.3, count), rng.lognormal(5, 0.3, count)),
        np.where(long, rng.lognormal(7.5, 0.5, count), rng.lognormal(4, 0.5, count)),
    )


def heavy_tailed(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.lognormal(6, 0.5, count), (rng.pareto(2.2, count) + 1) * 100


def ordered(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted by length, as files often are: a random sample does not see it."""
    inputs, outputs = lognormal(0.8, 0.9)(rng, count)
    order = np.argsort(inputs)
    return inputs[order], outputs[order]


POPULATIONS = {
    "narrow": lognormal(0.3, 0.0),
    "usual": lognormal(0.8, 0.5),
    "wide": lognormal(1.2, 0.0),
    "wide, follows its input": lognormal(1.2, 0.9),
    "sorted": ordered,
    "bimodal": bimodal,
    "heavy tail": heavy_tailed,
}


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("count", [100, 300])
def test_intervals_hold_as_often_as_they_say(name, count):
    """Over 200 batches the 95 % interval holds at least 92 % of the time, the 99 % bound at least 97 %."""
    held = bound = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        inputs, outputs = POPULATIONS[name](rng, 5_000)
        costs = inputs * 2e-6 + outputs * 12e-6
        sample = rng.choice(5_000, count, replace=False)
        rest = np.ones(5_000, bool)
        rest[sample] = False
        told = project(inputs[sample], costs[sample], int(rest.sum()), float(inputs[rest].sum()), seed).interval
        total = costs[rest].sum()
        held += told.low <= total <= told.high
        bound += total <= told.bound_99
    assert held >= 0.92 * 200, held
    assert bound >= 0.97 * 200, bound


def test_rows_that_all_cost_the_same_are_forecast_exactly():
    """Equal rows have one cost and an interval of no width."""
    told = project(np.full(50, 100.0), np.full(50, 0.5), 1_000, 100_000.0)
    assert told.interval.estimate == pytest.approx(500)
    assert told.interval.low == pytest.approx(told.interval.bound_99)
    assert (told.slope, told.intercept) == (0.0, pytest.approx(0.5))
