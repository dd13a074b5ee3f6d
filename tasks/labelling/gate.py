"""Gate: whether gold rows show that a job's labels are good enough to pay for the rest. Looked at as they come. Pure.

A criterion is a least accuracy, a least recall of one label, or a least κ. At each look its rows are tested (exactly,
by the binomial; κ by its asymptotic variance): it is met as soon as the share is shown to lie above the least one less
a MARGIN, and missed as soon as it is shown to lie below the least one. The looks share their error rates:

- a true share of MARGIN below the least one, or less, passes in at most 5 of 100 runs (FALSE_PASS)
- a true share of the least one, or more, is stopped early in at most 5 of 100 runs (FALSE_STOP)

What is undecided when all gold rows are asked does not pass: the rest is not paid for on hope.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from statistics import NormalDist
from typing import Protocol

import numpy as np

from rowmill.schemas.display_text import counted
from rowmill.schemas.label import Label, Labels
from rowmill.schemas.termination import Termination
from rowmill.tasks.labelling.scores import cohen_kappa, kappa_error, wilson

FIRST_LOOK = 50
MARGIN = 0.02
FALSE_PASS = FALSE_STOP = 0.05
# Gold and voted labels of a scored row.
Pair = tuple[Labels, Labels | None]


class Verdict(Enum):
    """What a look tells."""

    PASS = "pass"
    STOP = "stop"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict in words: what was found, and what the job asks for."""

    verdict: Verdict
    words: str


class GoldGate(Protocol):
    """Gold rows that are asked before all others, and whether they are good enough."""

    @property
    def looks(self) -> list[frozenset[int]]:
        """Rows to ask and to score at each look, more each time; none where nothing is asked for."""

    def judge(self, results: Path, look: int) -> tuple[Judged, Termination | None]:
        """What a look's rows show, and why the run ends here if it does. Raises StorageError."""


def look_sizes(rows: int) -> list[int]:
    """How many gold rows each look has: 50, and twice as many each time, up to all."""
    sizes = []
    size = FIRST_LOOK
    while size <= rows * 2 // 3:
        sizes.append(size)
        size *= 2
    return [*sizes, rows]


def error_share(look: int, looks: int) -> float:
    """The part of an error rate that a look may use up: half of it for the last one, the others have equal parts."""
    if looks == 1:
        return 1.0
    return 0.5 if look == looks - 1 else 0.5 / (looks - 1)


def least_rows(wanted: float, looks: int = 1) -> int:
    """Gold rows without which a share cannot be shown, were all of them right."""
    floor = wanted - MARGIN
    return 1 if floor <= 0 else math.ceil(math.log(FALSE_PASS * error_share(looks - 1, looks)) / math.log(floor))


def judge_share(right: int, of: int, wanted: float, *, share: float = 1.0) -> Verdict:
    """Whether right rows of so many show a share; `share` is this look's part of the error rates."""
    if of and tail(right, of, max(0.0, wanted - MARGIN)) <= FALSE_PASS * share:
        return Verdict.PASS
    if of and tail(of - right, of, 1 - wanted) <= FALSE_STOP * share:
        return Verdict.STOP
    return Verdict.UNDECIDED


def tail(successes: int, of: int, p: float) -> float:
    """Probability of so many successes or more of a binomial, exactly."""
    if successes <= 0:
        return 1.0
    if p <= 0:
        return 0.0
    if p >= 1:
        return 1.0
    choose = math.lgamma(of + 1)
    logs = (
        choose - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * math.log(p) + (of - k) * math.log1p(-p)
        for k in range(successes, of + 1)
    )  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, logs)))


def judge(
    label: Label, sample: Sequence[Pair], of_label: Mapping[str, Sequence[Pair]], *, look: int, looks: int
) -> Judged:
    """All criteria of a job at one look: it passes when each is met, and stops when one is missed.

    `sample` are scored rows drawn from all gold, `of_label` those whose gold has a label.
    """
    share = error_share(look, looks)
    found: list[Judged] = []
    if label.min_accuracy is not None:
        right = sum(_is_right(pair) for pair in sample)
        found.append(_of_share(
            right, len(sample), label.min_accuracy, share=share, what="gold rows were labelled right",
            key="label.min_accuracy",
        ))  # fmt: skip
    for name, wanted in label.min_recall.items():
        pairs = of_label.get(name, ())
        right = sum(said is not None and name in said for _, said in pairs)
        words = f"gold rows of {name!r} were found"
        found.append(_of_share(right, len(pairs), wanted, share=share, what=words, key="label.min_recall"))
    if label.min_kappa is not None:
        found.append(_of_kappa(sample, label.min_kappa, share))
    for verdict in (Verdict.STOP, Verdict.UNDECIDED):
        if unmet := [one.words for one in found if one.verdict is verdict]:
            return Judged(verdict, "; ".join(unmet))
    return Judged(Verdict.PASS, "; ".join(one.words for one in found))


def _is_right(pair: Pair) -> bool:
    gold, said = pair
    return said is not None and set(said) == set(gold)


def _of_share(right: int, of: int, wanted: float, *, share: float, what: str, key: str) -> Judged:
    verdict = judge_share(right, of, wanted, share=share)
    if not of:
        return Judged(verdict, f"no gold row was answered; {key} asks for {wanted:.1%}")
    low, high = wilson(right, of)
    found = f"{right:,} of {of:,} {what} ({right / of:.1%}, 95 % between {low:.1%} and {high:.1%})"
    return Judged(verdict, f"{found}; {key} asks for {wanted:.1%}{_short(verdict, of, wanted, share=share)}")


def _short(verdict: Verdict, of: int, wanted: float, *, share: float) -> str:
    if verdict is not Verdict.UNDECIDED:
        return ""
    enough = next((k for k in range(of + 1) if judge_share(k, of, wanted, share=share) is Verdict.PASS), None)
    return (
        f", which {counted(of, 'row')} show from {enough:,} right on"
        if enough is not None
        else ", which so few cannot show"
    )


def _of_kappa(sample: Sequence[Pair], wanted: float, share: float) -> Judged:
    names = sorted({"|".join(labels or ()) for pair in sample for labels in pair})
    at = {name: number for number, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), np.int64)
    for gold, said in sample:
        matrix[at["|".join(gold)], at["|".join(said or ())]] += 1
    kappa = cohen_kappa(matrix)
    if kappa is None:
        return Judged(Verdict.UNDECIDED, f"κ is not defined on these gold rows; label.min_kappa asks for {wanted:.2f}")
    reach = NormalDist().inv_cdf(1 - FALSE_PASS * share) * kappa_error(matrix)
    above, below = kappa - reach > wanted - MARGIN, kappa + reach < wanted
    verdict = Verdict.PASS if above else Verdict.STOP if below else Verdict.UNDECIDED
    return Judged(
        verdict, f"κ is {kappa:.2f} on {counted(len(sample), 'gold row')}; label.min_kappa asks for {wanted:.2f}"
    )
