"""Regression: costs of a sample → the cost of the rest, with an interval that holds. Pure statistics.

A sample drawn with chances in proportion to what each row is expected to cost is a sample of ratios, cost to
expectation: a few rows that hold most of the money are then in it as surely as their money asks. A bootstrap-t
interval (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 12), residuals corrected for leverage, all
held wider by what simulations asked for (docs/forecast.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rowmill.schemas.forecast import Interval

Numbers = npt.NDArray[np.float64]
RESAMPLES = 1_000
# Samples of skewed costs look surer than they are: measured coverage asked for these factors.
WIDER = 1.2
WIDER_BOUND = 1.3
LEAST_T, LEAST_T_BOUND = 2.0, 2.5


# ... and small ones more so: by so many rows' worth.
SMALL = 4


@dataclass(frozen=True, slots=True)
class Line:
    """Value of a unit of the rest, intercept + slope x its covariate, and the total of the rest with its interval."""

    intercept: float
    slope: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Rest:
    """What is to be foretold: `units` (rows, or USD of expected cost) of `rows` rows, whose mean covariate is `at`."""

    rows: int
    units: float
    at: float


def project(covariate: Numbers, values: Numbers, rest: Rest, *, seed: int = 0) -> Line:
    """The total value of the rest, from the covariates and values a unit of a sample of at least three rows."""
    count = len(covariate)
    once = np.ones((1, count))
    mean, error, slope = _fit(covariate, values, once, at=rest.at)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
    means, errors, _ = _fit(covariate, values, drawn, at=rest.at)
    t = (means - mean) / np.maximum(errors, max(1e-3 * error[0], 1e-300))
    low_t, high_t, bound_t = np.quantile(t, (0.975, 0.025, 0.01))
    # The rest is itself a draw: its own mean strays too, the more the fewer they are.
    spread = error[0] * np.sqrt(1 + count / max(rest.rows, 1)) * (1 + SMALL / count)
    amounts = (
        mean[0],
        mean[0] - max(low_t, LEAST_T) * WIDER * spread,
        mean[0] - min(high_t, -LEAST_T) * WIDER * spread,
        mean[0] - min(bound_t, -LEAST_T_BOUND) * WIDER_BOUND * spread,
    )
    interval = Interval(*(max(0.0, float(amount)) for amount in amounts)).times(rest.units)
    return Line(float(mean[0] - slope[0] * rest.at), float(slope[0]), interval)


def _fit(x: Numbers, y: Numbers, weights: Numbers, *, at: float) -> tuple[Numbers, Numbers, Numbers]:
    """Weighted regression for each row of `weights` (counts of a resample): mean at `at`, its error, the slope."""
    count = len(x)
    mean_x = (weights * x).sum(-1, keepdims=True) / count
    mean_y = (weights * y).sum(-1, keepdims=True) / count
    off = x - mean_x
    square = (weights * off * off).sum(-1, keepdims=True)
    # Rows of one length tell nothing of a slope.
    told = square > 1e-9 * count * np.maximum(mean_x * mean_x, 1e-300)
    safe = np.where(told, square, 1.0)
    slope = np.where(told, (weights * off * (y - mean_y)).sum(-1, keepdims=True) / safe, 0.0)
    leverage = np.minimum(1 / count + np.where(told, off * off / safe, 0.0), 0.9)
    residual = (y - mean_y - slope * off) / (1 - leverage)
    influence = 1 / count + np.where(told, (at - mean_x) * off / safe, 0.0)
    error = np.sqrt((weights * (influence * residual) ** 2).sum(-1) * count / max(1, count - 1))
    return (mean_y + slope * (at - mean_x))[:, 0], error, slope[:, 0]
