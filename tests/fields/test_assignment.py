"""Items are matched one to one so that most of what they say is right."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rowmill.tasks.fields.assignment import best_pairs

SIDES = st.integers(0, 5)


@given(st.data(), SIDES, SIDES)
def test_no_other_matching_is_better(data, rows, columns):
    """The sum of the pairs' likenesses is the greatest of all one-to-one matchings; no place is taken twice."""
    shares = st.sampled_from([0.0, 0.25, 0.5, 2 / 3, 1.0])
    likeness = np.array(data.draw(st.lists(shares, min_size=rows * columns, max_size=rows * columns)), float)
    likeness = likeness.reshape(rows, columns)
    pairs = best_pairs(likeness)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert all(likeness[row, column] > 0 for row, column in pairs)
    wide = likeness if rows <= columns else likeness.T
    best = max(
        (sum(wide[row, column] for row, column in enumerate(chosen))
         for chosen in permutations(range(wide.shape[1]), wide.shape[0])),
        default=0.0,
    )  # fmt: skip
    assert abs(sum(likeness[pair] for pair in pairs) - best) < 1e-9


def test_a_long_list_takes_a_moment():
    """Two hundred items a side are matched without a search of all orders."""
    likeness = np.random.default_rng(7).random((200, 200))
    pairs = best_pairs(likeness)
    assert len(pairs) == 200
    greedy = sum(likeness[row].max() for row in range(200))
    assert 0.95 * greedy < sum(likeness[pair] for pair in pairs) <= greedy
