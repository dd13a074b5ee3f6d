"""Movement: which shares of a night's rows differ from those of the nights before by more than chance.

Each share is held against the pooled rows of the nights before by a two-proportion test: Fisher's exact one where a
count that chance would give is small, else the score test. Nights differ from each other by more than rows drawn at
random would (another weekday, another supplier): where the nights before do so among themselves (χ² over all shares of
a kind, p < 0.05), the variance of each share is that of its nights, and Student's t takes the normal's place. Holm's
correction over everything that is looked at keeps the chance of a mark in a night without a change at 1 in 100.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rowmill.schemas.history import CHOICES, Shares

ALPHA = 0.01
# A night of fewer rows says too little to be looked at.
ROWS_LEAST = 10
EXPECTED_LEAST = 10.0
HETEROGENEOUS = 0.05
Z_95 = 1.959963984540054
Counts = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Compared:
    """One share of a night beside that of the nights before: of `of` rows `count`.

    `low` and `high` are the 95 % interval of the difference, `p_value` is before the correction; `moved` after it.
    """

    kind: str
    name: str
    count: int
    of: int
    before_count: int
    before_of: int
    nights: int
    low: float
    high: float
    p_value: float
    moved: bool = False

    @property
    def rate(self) -> float:
        return self.count / self.of

    @property
    def before(self) -> float:
        return self.before_count / self.before_of

    @property
    def difference(self) -> float:
        return self.rate - self.before


def compared(now: Shares, before: Sequence[Shares]) -> list[Compared]:
    """Every share of a night that the nights before have too; what moved first, then by how sure that is."""
    looked: dict[tuple[str, str], tuple[Counts, list[Counts]]] = {}
    for kind, name in _looked_at(now, before):
        here = _counts(now, kind, name)
        others = [one for shares in before if (one := _counts(shares, kind, name)) is not None and one[1]]
        if here is not None and here[1] >= ROWS_LEAST and others:
            looked[kind, name] = here, others
    restless = {
        kind: _differ_among_themselves([others for (of_kind, _), (_, others) in looked.items() if of_kind == kind])
        for kind in {kind for kind, _ in looked}
    }
    found = []
    for (kind, name), (here, others) in looked.items():
        count, of = sum(one for one, _ in others), sum(of for _, of in others)
        spread = _chi2(others) / (len(others) - 1) if restless[kind] and len(others) > 1 else None
        low, high = _interval(here, (count, of), max(1.0, spread or 1.0))
        p_value = two_proportions(here, (count, of), spread, freedom=len(others) - 1)
        found.append(Compared(kind, name, *here, count, of, len(others), low, high, p_value))
    return _corrected(sorted(found, key=lambda one: (one.p_value, one.kind, one.name)))


def _looked_at(now: Shares, before: Sequence[Shares]) -> list[tuple[str, str]]:
    """What is counted tonight; and labels that were there before and are not any more."""
    names = {(kind, name): None for kind, told in now.items() for name in told}
    for shares in before:
        names |= {(kind, name): None for kind in CHOICES & now.keys() for name in shares.get(kind, {})}
    return list(names)


def _counts(shares: Shares, kind: str, name: str) -> Counts | None:
    told = shares.get(kind)
    if not told:
        return None
    if name in told:
        return told[name]
    return (0, next(iter(told.values()))[1]) if kind in CHOICES else None


def _corrected(found: Sequence[Compared]) -> list[Compared]:
    """Holm: the smallest p against α over all, the next over all but one, until the first that fails.

    `found` comes by p. What never varied anywhere can show nothing and is not counted as looked at.
    """
    looked = sum(0 < one.count + one.before_count < one.of + one.before_of for one in found)
    told, holds = [], True
    for place, one in enumerate(found):
        holds = holds and one.p_value <= ALPHA / max(1, looked - place)
        told.append(replace(one, moved=holds))
    return told


def two_proportions(one: Counts, other: Counts, spread: float | None = None, *, freedom: int = 0) -> float:
    """Two-sided p of shares that differ as much by chance. `spread` is the variance between nights in place of the
    binomial one (never less than that), learned with so many degrees of freedom.
    """
    (a, n), (b, m) = one, other
    total, rows = a + b, n + m
    if total in (0, rows):
        return 1.0
    if spread is None and min(n, m) * min(total, rows - total) / rows < EXPECTED_LEAST:
        return fisher(one, other)
    share = total / rows
    error = math.sqrt(max(1.0, spread or 1.0) * share * (1 - share) * (1 / n + 1 / m))
    far = abs(a / n - b / m) / error
    return math.erfc(far / math.sqrt(2)) if spread is None else student_tail(far, freedom)


def student_tail(t: float, freedom: int) -> float:
    """Two-sided p of Student's t (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine2 = math.sin(angle), math.cos(angle) ** 2
    is_odd = freedom % 2
    term, total = (math.cos(angle), 0.0) if is_odd else (1.0, 0.0)
    for step in range(1 + is_odd, freedom + is_odd, 2):
        if step >= freedom:
            break
        total += term
        term *= cosine2 * step / (step + 1)
    inside = 2 / math.pi * (angle + sine * total) if is_odd else sine * total
    return max(0.0, 1 - inside)


def fisher(one: Counts, other: Counts) -> float:
    """Two-sided p of Fisher's exact test: all tables with these margins that are no likelier than this one."""
    (a, n), (b, m) = one, other
    total, rows = a + b, n + m
    low, high = max(0, total - m), min(total, n)
    whole = _log_choose(rows, total)

    def log_chance(x: int) -> float:
        return _log_choose(n, x) + _log_choose(m, total - x) - whole

    seen = log_chance(a) + 1e-7
    middle = min(max(round(total * n / rows), low), high)
    p = 0.0
    for side in (range(middle, high + 1), range(middle - 1, low - 1, -1)):
        for x in side:
            chance = log_chance(x)
            if chance <= seen:
                p += math.exp(chance)
                if chance < seen - 50:
                    # What lies beyond adds nothing that a double could tell.
                    break
    return min(1.0, p)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _differ_among_themselves(shares: Sequence[Sequence[Counts]]) -> bool:
    """Whether nights differ by more than rows drawn at random, over several shares together."""
    chi2 = freedom = 0.0
    for nights in shares:
        if 0 < sum(count for count, _ in nights) < sum(of for _, of in nights):
            chi2, freedom = chi2 + _chi2(nights), freedom + len(nights) - 1
    return freedom > 0 and _chi2_tail(chi2, freedom) < HETEROGENEOUS


def _chi2(nights: Sequence[Counts]) -> float:
    """Pearson's χ² of the nights' counts around their common share."""
    count, of = sum(one for one, _ in nights), sum(of for _, of in nights)
    if count in (0, of):
        return 0.0
    share = count / of
    return sum((one - each * share) ** 2 / (each * share * (1 - share)) for one, each in nights)


def _chi2_tail(chi2: float, freedom: float) -> float:
    """The chance of a χ² as high (Wilson and Hilferty's cube root, within 0.011 of the true one)."""
    scale = 2 / (9 * freedom)
    return math.erfc(((chi2 / freedom) ** (1 / 3) - (1 - scale)) / math.sqrt(scale) / math.sqrt(2)) / 2


def _interval(one: Counts, other: Counts, spread: float) -> tuple[float, float]:
    """95 % interval of the difference (Agresti and Caffo: a row of each kind is added to both)."""
    (p, n), (q, m) = (((count + 1) / (of + 2), of + 2) for count, of in (one, other))
    half = Z_95 * math.sqrt(spread * (p * (1 - p) / n + q * (1 - q) / m))
    return max(-1.0, p - q - half), min(1.0, p - q + half)
