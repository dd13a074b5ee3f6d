"""Scores: how good labels are, from counts alone. The tests hold each against scikit-learn, statsmodels, krippendorff.

Counts are `confusion[gold, label]` matrices, or `counts[kind of row, label]` of votes with as many `rows` of each kind.
A score that the counts do not define (no row, or one label everywhere) is None.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rowmill.schemas.accuracy import Accuracy, Retrieval

Counts = np.ndarray[Any, np.dtype[np.int64]]
Z_95 = 1.959963984540054
# Up to so many rows that differ, McNemar's test is the exact binomial one.
EXACT_MOST = 1_000


def wilson(right: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson's score interval). Of nothing, anything from 0 to 1."""
    return score_interval(right / of, of, Z_95) if of else (0.0, 1.0)


def score_interval(share: float, of: float, z: float) -> tuple[float, float]:
    """Wilson's interval of a share of so many rows, `z` standard errors either way."""
    z2 = z * z
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    # Rounding may leave the share itself outside, as in 30 of 30.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def cohen_kappa(confusion: Counts) -> float | None:
    """Agreement of two raters beyond chance."""
    total = int(confusion.sum())
    if not total:
        return None
    seen = float(np.trace(confusion)) / total
    chance = float(confusion.sum(0) @ confusion.sum(1)) / total**2
    return None if chance == 1 else (seen - chance) / (1 - chance)


def kappa_error(confusion: Counts) -> float:
    """Standard error of Cohen's κ (Fleiss, Cohen and Everitt 1969), of two raters with some disagreement by chance."""
    total = int(confusion.sum())
    shares = confusion / total
    rows, columns = shares.sum(1), shares.sum(0)
    seen, chance = float(np.trace(shares)), float(rows @ columns)
    diagonal = np.diag(shares) @ ((1 - chance) - (rows + columns) * (1 - seen)) ** 2
    mixed = shares * (rows[None, :] + columns[:, None]) ** 2
    others = (1 - seen) ** 2 * (mixed.sum() - np.trace(mixed))
    spread = float(diagonal + others) - (seen * chance - 2 * chance + seen) ** 2
    # All alike: the error is that of a rater who would differ in the next row.
    return math.sqrt(max(spread, 1 / total if seen == 1 else 0.0) / total) / (1 - chance) ** 2


def retrieval(right: int, said: int, gold: int) -> Retrieval:
    """Precision, recall and F1 of one label: how often it was said, was gold, and both."""
    return Retrieval(
        precision=right / said if said else None,
        recall=right / gold if gold else None,
        f1=2 * right / (said + gold) if said + gold else None,
    )


def accuracy(right: int, rows: int) -> Accuracy:
    """Rows that are right, of so many, with Wilson's interval; no share of no row."""
    if not rows:
        return Accuracy()
    low, high = wilson(right, rows)
    return Accuracy(rows=rows, right=right, accuracy=right / rows, low=low, high=high)


def fleiss_kappa(counts: Counts, rows: Counts) -> float | None:
    """Agreement of as many votes on every row beyond chance. The counts of each row have one sum, two or more."""
    total = int(rows.sum())
    if not total:
        return None
    votes = int(counts[0].sum())
    alike = float(rows @ ((counts**2).sum(1) - votes)) / (total * votes * (votes - 1))
    chance = float((((rows @ counts) / (total * votes)) ** 2).sum())
    return None if chance == 1 else (alike - chance) / (1 - chance)


def krippendorff_alpha(counts: Counts, rows: Counts) -> float | None:
    """Agreement beyond chance for nominal labels where rows have different numbers of votes; those of one count not."""
    paired = counts.sum(1) >= 2
    counts, rows = counts[paired], rows[paired]
    votes = counts.sum(1)
    total, by_label = int(rows @ votes), rows @ counts
    chance = total**2 - float((by_label.astype(float) ** 2).sum())
    if not total or not chance:
        return None
    unlike = float(rows @ ((votes**2 - (counts**2).sum(1)) / (votes - 1)))
    return 1 - (total - 1) * unlike / chance


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p of McNemar's test on rows that only A, and only B, has right; exact, or by χ² (Edwards) for many."""
    differ = only_a + only_b
    if not differ:
        return 1.0
    if differ <= EXACT_MOST:
        tail = sum(math.comb(differ, k) for k in range(min(only_a, only_b) + 1))
        return min(1.0, float(2 * tail / 2**differ))
    chi2 = max(0, abs(only_a - only_b) - 1) ** 2 / differ
    return math.erfc(math.sqrt(chi2 / 2))
