"""Evidence: what a model's calls have shown so far, by which a row's own fault is told from everyone's.

One row that is refused while others are answered is at fault itself; where every row is refused and none answered, the
run is.
"""

from __future__ import annotations

# Refusals one after the other, without an answer between, that are every row's: before anything was answered, no more
# than calls may be in flight; later, when some rows of one kind may stand together, no fewer.
REFUSALS_FIRST = (2, 8)
REFUSALS_LATER = (8, 64)
# A row is refused alone where of the others at most one in so many was.
OTHERS_REFUSED_ONE_IN = 10
# Every call refused as too fast, for so long and so often: no limit of a minute does that.
THROTTLED_MOST_S = 600.0
THROTTLED_LEAST = 10
# Whoever is still refused when nothing was answered for so long waits for no limit of a minute.
NEAR_S = 90.0


class Evidence:
    """Counts of answers and refusals. `concurrency` is the most calls in flight; times are monotonic seconds."""

    def __init__(self, concurrency: int) -> None:
        self.answers = 0
        self.throttled = 0
        self._first = _within(REFUSALS_FIRST, concurrency)
        self._later = _within(REFUSALS_LATER, concurrency)
        self._refusals = 0
        self._throttled_since: float | None = None
        self._throttled_lately = 0
        self._unreachable_since: float | None = None
        self._suspects: set[int] = set()
        # Rows that were refused as too fast and are not settled yet.
        self._waiting: set[int] = set()

    def answered(self) -> None:
        self.answers += 1
        if self._refusals or self._throttled_lately or self._unreachable_since is not None:
            self._refusals = self._throttled_lately = 0
            self._throttled_since = self._unreachable_since = None

    def refused(self) -> bool:
        """Count a refusal that may be every row's; whether it is."""
        self._refusals += 1
        return self._refusals >= (self._later if self.answers else self._first)

    def unreachable(self, now: float) -> float:
        """Seconds in which no connection was made."""
        self._unreachable_since = now if self._unreachable_since is None else self._unreachable_since
        return now - self._unreachable_since

    def throttle(self, row: int, now: float) -> bool:
        """Count a refusal as too fast; whether every call has been refused so for longer than any limit of pace."""
        if row not in self._suspects:
            self.throttled += 1
        self._waiting.add(row)
        self._throttled_lately += 1
        self._throttled_since = now if self._throttled_since is None else self._throttled_since
        return self._throttled_lately >= THROTTLED_LEAST and now - self._throttled_since >= THROTTLED_MOST_S

    def few_are_left(self, now: float) -> bool:
        """Whether those who are refused as too fast are few among all that were answered, and no limit can be near any
        more: so many rows as this were never everyone.
        """
        since = self._throttled_since
        return (
            since is not None and now - since >= NEAR_S and len(self._waiting) * OTHERS_REFUSED_ONE_IN <= self.answers
        )

    def suspect(self, row: int) -> None:
        """This row is refused alone: what it is told says nothing of the others' pace."""
        self._suspects.add(row)

    def settled(self, row: int) -> None:
        self._suspects.discard(row)
        self._waiting.discard(row)


def _within(bounds: tuple[int, int], value: int) -> int:
    least, most = bounds
    return max(least, min(value, most))


def is_alone(answered: int, throttled: int) -> bool:
    """Whether a row was throttled alone, from the numbers of others answered and throttled since it last was.

    Nobody answered and others throttled too: everyone waits, and none is charged for it.
    """
    return throttled * OTHERS_REFUSED_ONE_IN <= answered if answered else not throttled
