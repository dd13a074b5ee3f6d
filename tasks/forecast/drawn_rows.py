"""Drawn rows: sums over an input of which every row is counted and some are looked at.

One row is drawn from each of many stretches of equal length, at a place that a hash of the stretch decides. What a row
comes to follows its bytes, of which the sum over the whole input is known: a line through the drawn rows tells the
rest (regression estimator), so that a few giant rows count though none of them is drawn.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
import numpy.typing as npt

# So many rows are looked at, and one in so many besides.
DRAWN_LEAST, DRAWN_SHARE = 20_000, 300
# Where more rows than this may ask the same as another, all of them have to be looked at.
TWINS_MOST = 0.02
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum over the whole input, and its standard error."""

    value: float
    error: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """How a forecast knows its sums: rows looked at, standard error of the tokens, and which share of the rows may ask
    the same as another at the most.
    """

    rows: int
    tokens_error: float
    twins_most: float


@dataclass(slots=True)
class DrawnRows:
    """What the drawn rows of an input came to, one entry each."""

    rows: int
    size: int
    sizes: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    keys: Counter[bytes] = field(default_factory=Counter)

    def add(self, of_bytes: int, key: bytes | None, /, **values: float) -> None:
        """A row of so many bytes; without a key it asks nothing."""
        self.sizes.append(of_bytes)
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)
        if key is not None:
            self.keys[key] += 1

    def total(self, name: str) -> Sum:
        """The sum over all rows of what the drawn ones came to."""
        y, x = np.array(self.values[name]), np.array(self.sizes, dtype=float)
        count, away = len(y), self.size / self.rows - float(x.mean())
        spread = float(((x - x.mean()) ** 2).sum())
        slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread else 0.0
        left = y - y.mean() - slope * (x - x.mean())
        variance = float((left**2).sum()) / max(1, count - 2)
        error = sqrt(variance * (1 / count + (away**2 / spread if spread else 0.0)))
        return Sum(max(0.0, self.rows * (float(y.mean()) + slope * away)), self.rows * error)

    @property
    def twins_most(self) -> float:
        """Which share of the rows may ask the same as another, at the most.

        Of n rows drawn from N, a pair that asks the same is seen with a chance of n(n - 1) / N(N - 1), and there are no
        fewer pairs than rows that have a twin before them. The bound is that of a Poisson count, above 99 %.
        """
        pairs = sum(seen * (seen - 1) // 2 for seen in self.keys.values())
        most = pairs + 3 * sqrt(pairs + 1) + 2
        count = len(self.sizes)
        return min(1.0, most * (self.rows - 1) / max(1, count * (count - 1)))


def places(rows: int, stretches: int, orders: npt.NDArray[np.uint64]) -> set[int]:
    """A place in each of so many stretches of so many rows; `orders` are random numbers, one a stretch."""
    edges = np.linspace(0, rows, stretches + 1).astype(np.uint64)
    found: list[int] = (edges[:-1] + orders % np.maximum(np.diff(edges), 1)).tolist()
    return set(found)


def row_orders(first: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """A hash of each row's position (splitmix64), 64 bits: those below a threshold are a random handful."""
    with np.errstate(over="ignore"):
        mixed = (np.arange(first, first + count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashed: np.ndarray[tuple[int], np.dtype[np.uint64]] = mixed ^ (mixed >> np.uint64(31))
    return hashed
