"""Concurrency: how many calls may be in flight now. Slow start, then additive increase, multiplicative decrease."""

from __future__ import annotations

from dataclasses import dataclass

from rowmill.tasks.gateway.admission.evidence import Call, Evidence, Finding

# A trial goes this far below what the gateway is thought to bear; where most calls fail, this far below the last.
BELOW = 0.85
MOST_FAIL = 0.8


@dataclass(frozen=True, slots=True)
class _Narrowed:
    """The window before failures narrowed it, and the highest share of failing calls that was put down to its width."""

    before: float
    failing: float


class Concurrency:
    """The window of calls in flight, between 1 and what the job allows.

    It starts at half and doubles each round trip. Where more calls fail (5xx, timeouts, disconnects) than chance
    explains, a trial with fewer in flight shows whether that is the cause. If it is, the window stays there and grows
    by one a round trip; if not, it is as wide as before.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._evidence = Evidence()
        self._limit = self._first
        self._narrowed: _Narrowed | None = None
        self._before_trial = self._limit

    @property
    def _first(self) -> float:
        return max(1.0, min(16.0, self.most), self.most / 2)

    def share(self, most: int) -> None:
        """Another bound from now on; 0 lets no more calls in until there is one again."""
        self.most = most
        self._limit = min(self._limit, most) if self._limit >= 1 else min(self._first, most)

    @property
    def limit(self) -> int:
        return int(self._limit)

    def admit(self, now: float) -> Call:
        """A call is sent."""
        return self._evidence.admit(now)

    def forget(self, call: Call) -> None:
        """A call was never sent."""
        self._evidence.forget(call)

    def ended(self, call: Call, *, failed: bool, now: float) -> None:
        """A call has failed by what too many at once may cause, or has not."""
        on_trial = self._evidence.on_trial
        finding = self._evidence.observe(call, failed=failed, now=now)
        if finding is Finding.EXCESS or finding is Finding.STOP:
            if not on_trial:
                self._before_trial = self._limit
            if self._narrowed is None:
                self._narrowed = _Narrowed(self._limit, 0.0)
            narrower = MOST_FAIL if finding is Finding.STOP else BELOW * (1 - self._evidence.excess)
            self._limit = max(min(1.0, self.most), self._limit * narrower)
        elif finding is Finding.PACE and self._narrowed is not None:
            self._narrowed = _Narrowed(self._narrowed.before, max(self._narrowed.failing, self._evidence.failing))
            self._evidence.conclude(finding, now)
        elif finding is Finding.CHANCE and self._narrowed is not None:
            self._evidence.conclude(finding, now)
            by_chance = self._narrowed.failing <= self._evidence.explained
            self._limit = min(self.most, self._narrowed.before if by_chance else self._before_trial)
            self._narrowed = None if by_chance else self._narrowed
        elif not failed and not on_trial and self._limit < self.most:
            self._limit = min(self.most, self._limit + (1.0 if self._narrowed is None else 1.0 / self._limit))
