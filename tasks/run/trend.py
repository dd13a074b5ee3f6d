"""Trend: whether the rows of an input become dearer or cheaper along it, from their costs in order."""

from __future__ import annotations

import math
from dataclasses import dataclass

ROWS_LEAST = 50
# How many standard errors a correlation must be away from none: it is looked at after every row of a run.
PLAIN = 5.0


@dataclass(slots=True)
class Trend:
    """Running sums of the correlation between a row's place and its cost (Welford's updates, one pass)."""

    count: int = 0
    mean_place: float = 0.0
    mean_cost: float = 0.0
    places: float = 0.0
    costs: float = 0.0
    both: float = 0.0

    def add(self, cost: float) -> None:
        """The next row's cost, in any unit."""
        self.count += 1
        off_place, off_cost = self.count - self.mean_place, cost - self.mean_cost
        self.mean_place += off_place / self.count
        self.mean_cost += off_cost / self.count
        self.places += off_place * (self.count - self.mean_place)
        self.costs += off_cost * (cost - self.mean_cost)
        self.both += off_place * (cost - self.mean_cost)

    @property
    def is_plain(self) -> bool:
        """Whether costs follow their place too well for chance."""
        if self.count < ROWS_LEAST or not self.places or not self.costs:
            return False
        correlation = self.both / math.sqrt(self.places * self.costs)
        left = 1 - correlation * correlation
        return left <= 0 or abs(correlation) * math.sqrt((self.count - 2) / left) > PLAIN
