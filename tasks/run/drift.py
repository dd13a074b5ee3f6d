"""Drift: whether a model answers otherwise than it did, beyond what two askings of one model differ by anyway.

Of each row there is the answer that stands (S) and two new ones (A, B). Were the model the same, the three would be
exchangeable: S and A would differ as often as A and B do. So each row gives the difference between the two, whose sign
is as good as chance's. For labels and texts that is McNemar's exact test of the rows in which only one pair differs;
for objects it is the sign-flip test of the share of fields that differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rowmill.schemas.outcome import Outcome, Status

# A night without a change is stopped by chance once in a hundred nights at most.
SIGNIFICANT = 0.01
FLIPS, FLIPS_AT_ONCE = 20_000, 1_000
Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Drift:
    """`changed` and `by_chance` are mean shares of what differs: from the answer that stands, and between the new ones.

    `low` and `high` are the 95 % interval of their difference, `p_value` that of a difference as high by chance.
    """

    rows: int
    changed: float
    by_chance: float | None
    low: float | None
    high: float | None
    p_value: float | None

    def exceeds(self, share: float) -> bool:
        """Whether the answers have changed significantly and by more than this share."""
        if self.by_chance is None or self.p_value is None:
            return False
        return self.p_value < SIGNIFICANT and self.changed - self.by_chance > share


def differs(one: Outcome, other: Outcome) -> float:
    """Share of what differs between two answers to one request: 0 or 1 for labels and texts, of fields for objects.

    An answer that is refused or meets no schema differs from every accepted one, and not from another of its kind.
    """
    if one.status is not Status.OK or other.status is not Status.OK:
        return float(one.status is not other.status)
    if one.labelling is not None and other.labelling is not None:
        return float(set(one.labelling.labels or ()) != set(other.labelling.labels or ()))
    if one.tool_calls or other.tool_calls:
        return float(one.tool_calls != other.tool_calls)
    mine, others = leaves(one.output_text), leaves(other.output_text)
    fields = mine.keys() | others.keys()
    return sum(mine.get(name, _NONE) != others.get(name, _NONE) for name in fields) / len(fields) if fields else 0.0


_NONE = object()


def leaves(text: str | None) -> dict[str, Any]:
    """The fields of an answer by their path; a text that is no JSON is one field."""
    try:
        value = json.loads(text or "null")
    except ValueError:
        value = text
    found: dict[str, Any] = {}
    rest = [("", value)]
    while rest:
        path, inner = rest.pop()
        if isinstance(inner, dict) and inner:
            rest += [(f"{path}/{name}", one) for name, one in inner.items()]
        elif isinstance(inner, list) and inner:
            rest += [(f"{path}/{place}", one) for place, one in enumerate(inner)]
        else:
            # True is not 1, and 1 is 1.0.
            found[path] = (isinstance(inner, bool), inner if not isinstance(inner, dict | list) else str(inner))
    return found


def measure(changed: Sequence[float], by_chance: Sequence[float] | None, seed: int) -> Drift:
    """What rows differ by from the answers that stand, and, where they were asked twice, by chance."""
    rows = len(changed)
    mean = sum(changed) / rows if rows else 0.0
    if by_chance is None or not rows:
        return Drift(rows, mean, None, None, None, None)
    more = [one - other for one, other in zip(changed, by_chance, strict=True)]
    centre = sum(more) / rows
    spread = math.sqrt(sum((one - centre) ** 2 for one in more) / max(1, rows - 1) / rows)
    low, high = max(-1.0, centre - Z_95 * spread), min(1.0, centre + Z_95 * spread)
    return Drift(rows, mean, sum(by_chance) / rows, low, high, _p_value(more, seed))


def _p_value(more: Sequence[float], seed: int) -> float:
    """The chance of a sum as high where every sign is a coin's: exact where all sizes are equal, else by sampling."""
    sizes = [one for one in more if one]
    if not sizes:
        return 1.0
    if len({abs(one) for one in sizes}) == 1:
        ups = sum(one > 0 for one in sizes)
        return float(sum(math.comb(len(sizes), count) for count in range(ups, len(sizes) + 1)) / 2 ** len(sizes))
    rng, seen, as_high = np.random.default_rng(seed), sum(sizes) - 1e-12, 0
    for _ in range(FLIPS // FLIPS_AT_ONCE):
        signs = rng.choice([-1.0, 1.0], size=(FLIPS_AT_ONCE, len(sizes)))
        as_high += int((signs @ np.array(sizes) >= seen).sum())
    return (as_high + 1) / (FLIPS + 1)
