"""Assignment: two lists matched one to one so that the likenesses of the pairs add up to the most there is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Likeness = npt.NDArray[np.float64]


def best_pairs(likeness: Likeness) -> list[tuple[int, int]]:
    """Pairs of row and column, none twice, of the greatest sum; those of no likeness at all are left out.

    The Hungarian method with shortest augmenting paths (Jonker and Volgenant 1987): n²·m steps, n the shorter side.
    """
    if not likeness.size:
        return []
    flipped = likeness.shape[0] > likeness.shape[1]
    costs = -(likeness.T if flipped else likeness)
    pairs = [(row, column) for row, column in enumerate(_columns_of(costs)) if costs[row, column] < 0]
    return sorted((column, row) for row, column in pairs) if flipped else pairs


def _columns_of(costs: npt.NDArray[Any]) -> list[int]:
    """The column of each row in the cheapest assignment; there are at least as many columns as rows."""
    rows, columns = costs.shape
    of_row, of_column = np.zeros(rows + 1), np.zeros(columns + 1)
    # Which row a column is given to; 0 is nobody, and rows count from 1.
    owner = np.zeros(columns + 1, dtype=np.int64)
    for row in range(1, rows + 1):
        owner[0], at = row, 0
        least = np.full(columns + 1, np.inf)
        came_from = np.zeros(columns + 1, dtype=np.int64)
        seen = np.zeros(columns + 1, dtype=bool)
        while owner[at]:
            seen[at] = True
            reduced = costs[owner[at] - 1] - of_row[owner[at]] - of_column[1:]
            better = ~seen[1:] & (reduced < least[1:])
            least[1:][better], came_from[1:][better] = reduced[better], at
            open_ = np.where(seen, np.inf, least)
            open_[0] = np.inf
            nearest = int(open_.argmin())
            step = open_[nearest]
            of_row[owner[seen]] += step
            of_column[seen] -= step
            least[~seen] -= step
            at = nearest
        while at:
            owner[at] = owner[came_from[at]]
            at = int(came_from[at])
    found = [0] * rows
    for column in range(1, columns + 1):
        if owner[column]:
            found[owner[column] - 1] = column - 1
    return found
