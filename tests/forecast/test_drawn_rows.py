"""Sums over drawn rows: what is told of all rows holds for them, with the error that is told."""

from __future__ import annotations

import numpy as np
import pytest

from rowmill.tasks.forecast.drawn_rows import DrawnRows, places, row_orders


def drawn(sizes: np.ndarray, values: np.ndarray, stretches: int, first: int) -> DrawnRows:
    found = DrawnRows(len(sizes), int(sizes.sum()))
    for place in places(len(sizes), stretches, row_orders(first, stretches)):
        found.add(int(sizes[place]), place.to_bytes(8, "big"), tokens=float(values[place]))
    return found


@pytest.mark.parametrize("sorted_", [False, True])
def test_the_sum_is_within_its_error(sorted_):
    """Over a hundred draws from rows of lognormal length, sorted or not, the 95 % interval holds in 90 or more, though
    the values follow the bytes with noise.
    """
    rng = np.random.default_rng(7)
    sizes = rng.lognormal(5, 1, 20_000).astype(int) + 20
    if sorted_:
        sizes.sort()
    values = 30 + sizes / 4 * rng.lognormal(0, 0.2, len(sizes))
    held = 0
    for first in range(100):
        told = drawn(sizes, values, 1_000, first * 50_000).total("tokens")
        held += abs(told.value - values.sum()) <= 2 * told.error
    assert held >= 90


def test_giants_that_are_not_drawn_count():
    """Rows of a megabyte, one in ten thousand, are in the sum by their bytes."""
    sizes = np.full(20_000, 130)
    sizes[::2] += 40
    sizes[[5, 7_001]] = 1_000_000
    values = 30 + sizes / 4
    found = drawn(sizes, values, 200, 1)
    assert max(found.sizes) < 1_000
    assert found.total("tokens").value == pytest.approx(values.sum())


def test_rows_that_ask_the_same_are_bounded():
    """The bound holds the share of rows with a twin before them; without twins it is small."""
    rng = np.random.default_rng(3)
    for twins in (0.0, 0.01, 0.2):
        rows = 100_000
        requests = np.arange(rows)
        requests[: int(rows * twins)] += rows // 2
        rng.shuffle(requests)
        found = DrawnRows(rows, rows)
        for place in places(rows, 20_000, row_orders(0, 20_000)):
            found.add(1, int(requests[place]).to_bytes(8, "big"))
        assert twins <= found.twins_most <= 2 * twins + 0.005


def test_places_are_one_in_each_stretch():
    """Each stretch of the input gives one row."""
    for rows, stretches in ((10, 10), (10, 3), (1_000, 7), (1, 1)):
        found = sorted(places(rows, stretches, row_orders(5, stretches)))
        edges = np.linspace(0, rows, stretches + 1).astype(int)
        assert [int(np.searchsorted(edges, place, side="right")) - 1 for place in found] == list(range(stretches))
