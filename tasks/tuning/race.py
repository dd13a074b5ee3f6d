"""Race: which plans stay in play after each round of gold rows, and whether one that is left holds the target.

Plans are dropped with a confidence that is divided over all plans and rounds (Bonferroni), so that one that holds is
dropped by chance in no more than 5 of 100 races. The plan that is marked is judged on gold rows that did not choose it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from rowmill.schemas.display_text import counted
from rowmill.tasks.labelling.scored_rows import Scored, interval, standard_error
from rowmill.tasks.labelling.scores import Z_95

FIRST_ROUND = 20
DROPPED_WRONGLY = 0.05
# Gold rows to judge by of which a plan must have missed the target before the others are spared.
JUDGED_LEAST = 40

Scores = Mapping[int, Scored]


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked for: a share right, by how much the interval may reach below it, and how many plans there are."""

    target: float
    margin: float
    plans: int
    rounds: int

    @property
    def z(self) -> float:
        """Standard errors after which a plan may be dropped."""
        return NormalDist().inv_cdf(1 - DROPPED_WRONGLY / max(1, self.plans * self.rounds))


def rounds(choosing: int) -> list[int]:
    """How many of the gold rows the plans in play have been asked after each round: twice as many each time."""
    found, count = [], FIRST_ROUND
    while count < choosing:
        found.append(count)
        count *= 2
    return [*found, choosing]


def dropped(scores: Mapping[str, Scores], terms: Terms) -> dict[str, str]:
    """The plans to be dropped after a round, by name, each with the reason. Never all for being dearer than another."""
    found: dict[str, str] = {}
    for name, rows in scores.items():
        mean, _, high = interval([one.right for one in rows.values()], terms.z)
        if rows and high < terms.target:
            found[name] = (
                f"{mean:.1%} right of {counted(len(rows), 'gold row')}: below {terms.target:.1%} beyond chance"
            )
    left = {name: rows for name, rows in scores.items() if name not in found and rows}
    for name, rows in left.items():
        for other, others in left.items():
            if other != name and other not in found and _is_cheaper(others, rows, terms.z):
                if _holds_beyond_chance(others, terms):
                    found[name] = f"dearer than {other}, which holds the target beyond chance"
                elif _is_better(others, rows, terms.z):
                    found[name] = f"dearer than {other}, and right less often beyond chance"
                if name in found:
                    break
    return found


def _is_cheaper(one: Scores, other: Scores, z: float) -> bool:
    """By rows that both were asked: what a row costs varies with the row more than with the plan."""
    return _is_above(_paired(other, one, lambda row: row.usd), z)


def _is_better(one: Scores, other: Scores, z: float) -> bool:
    return _is_above(_paired(one, other, lambda row: row.right), z)


def _is_above(differences: Sequence[float], z: float) -> bool:
    """Whether the mean of these is above nothing beyond chance."""
    if len(differences) < 2:
        return False
    return sum(differences) / len(differences) - z * standard_error(differences) > 0


def _paired(one: Scores, other: Scores, of: Callable[[Scored], float | None]) -> list[float]:
    found = []
    for row, told in one.items():
        if row in other:
            mine, theirs = of(told), of(other[row])
            if mine is not None and theirs is not None:
                found.append(mine - theirs)
    return found


def _holds_beyond_chance(rows: Scores, terms: Terms) -> bool:
    return interval([one.right for one in rows.values()], terms.z)[1] >= terms.target


def to_be_judged(scores: Mapping[str, Scores], terms: Terms) -> list[str]:
    """The plans that may be marked, the cheapest first: those that came near the target on the rows that choose."""
    near = []
    for name, rows in scores.items():
        mean = sum(one.right for one in rows.values()) / len(rows) if rows else 0.0
        costs = [one.usd for one in rows.values() if one.usd is not None]
        if rows and mean >= terms.target - terms.margin:
            near.append((sum(costs) / len(costs) if costs else math.inf, name))
    return [name for _, name in sorted(near)]


def holds(judged: Scores, terms: Terms) -> bool:
    """Whether a plan holds the target on gold rows that did not choose it: the rule of the mark."""
    mean, low, _ = interval([one.right for one in judged.values()], Z_95)
    return bool(judged) and mean >= terms.target and low >= terms.target - terms.margin


def has_missed(judged: Scores, terms: Terms) -> bool:
    """Whether further gold rows would hardly change that it does not."""
    if len(judged) < JUDGED_LEAST:
        return False
    return interval([one.right for one in judged.values()], Z_95)[2] < terms.target


def rows_to_decide(accuracy: float, terms: Terms) -> int | None:
    """Gold rows to judge by that would do if this accuracy stood; None where it lies below the target."""
    if accuracy < terms.target:
        return None
    spread = max(accuracy * (1 - accuracy), 1e-4)
    room = accuracy - (terms.target - terms.margin)
    return math.ceil(Z_95**2 * spread / room**2) if room > 0 else None
