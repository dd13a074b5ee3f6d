"""Forecast intervals cover the truth as often as they claim, by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.forecasts import BATCHES, GUESS, IN, OUT, bimodal, few_long_inputs, heavy_tailed, lognormal, translation
from rowmill.tasks.forecast.regression import Rest, project


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
    "few long inputs": few_long_inputs,
    "translation": translation,
}


def drawn(rng: np.random.Generator, sizes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(places drawn, places left), drawn as a pilot draws them: by a uniform number over the size."""
    order = np.argsort(rng.random(len(sizes)) / sizes)
    return order[:count], order[count:]


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("count", [60, 200])
def test_intervals_hold_as_often_as_they_say(name: str, count: int) -> None:
    """Over 200 batches the 95 % interval holds at least 93 % of the time, the 99 % bound at least 97 %."""
    held = bound = 0
    for seed in range(BATCHES):
        rng = np.random.default_rng(seed)
        inputs, outputs = POPULATIONS[name](rng, 3_000)
        costs, sizes = inputs * IN + outputs * OUT, inputs * IN + GUESS * OUT
        sample, rest = drawn(rng, sizes, count)
        others = sample[sizes[sample] * count < sizes.sum()]
        told = project(
            1 / sizes[others],
            costs[others] / sizes[others],
            Rest(len(rest), float(sizes[rest].sum()), len(rest) / float(sizes[rest].sum())),
            seed=seed,
        ).interval
        total = costs[rest].sum()
        held += told.low <= total <= told.high
        bound += total <= told.bound_99
    assert held >= 0.93 * BATCHES, held
    assert bound >= 0.97 * BATCHES, bound


def test_a_draw_by_size_needs_no_wider_interval_where_few_rows_hold_the_money() -> None:
    """For 3 % of inputs 40 times as long, 60 rows drawn by size tell as much as a plain draw of 300."""
    widths: dict[str, list[float]] = {"by size": [], "plain": []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        inputs, outputs = few_long_inputs(rng, 3_000)
        costs = inputs * IN + outputs * OUT
        for name, sizes, count in (("by size", inputs * IN + GUESS * OUT, 60), ("plain", np.ones(3_000), 300)):
            sample, rest = drawn(rng, sizes, count)
            units = float(sizes[rest].sum())
            covariate = 1 / sizes if name == "by size" else inputs
            at = len(rest) / units if name == "by size" else float(inputs[rest].mean())
            told = project(
                covariate[sample], costs[sample] / sizes[sample], Rest(len(rest), units, at), seed=seed
            ).interval
            widths[name].append((told.high - told.low) / costs[rest].sum())
    assert np.median(widths["by size"]) < 1.1 * np.median(widths["plain"])


def test_rows_that_all_cost_the_same_are_forecast_exactly() -> None:
    """Equal rows have one cost and an interval of no width."""
    told = project(np.full(50, 100.0), np.full(50, 0.5), Rest(1_000, 1_000.0, 100.0))
    assert told.interval.estimate == pytest.approx(500)
    assert told.interval.low == pytest.approx(told.interval.bound_99)
    assert (told.slope, told.intercept) == (0.0, pytest.approx(0.5))
