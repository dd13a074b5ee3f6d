"""Concurrency: how many calls may be in flight now, found by what more or fewer of them change."""

from __future__ import annotations

from rowmill.tasks.gateway.admission.evidence import Call, Evidence, Finding

# A trial goes this far below what the gateway is thought to bear; where most calls fail, this far below the last.
BELOW = 0.85
MOST_FAIL = 0.8
GROWTH = 0.02


class Concurrency:
    """The window of calls in flight, between 1 and what the job allows.

    It starts at half and doubles each round trip. Where more calls fail (5xx, timeouts, disconnects) than chance
    explains, a trial with fewer in flight shows whether that is the cause. If it is, the window stays there and grows
    a little each round trip; if not, it is as wide as before.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._evidence = Evidence()
        self._limit = self._first
        # The window before failures narrowed it, until it is found that they were not about its width.
        self._before: float | None = None

    @property
    def _first(self) -> float:
        return max(1.0, min(16.0, self.most), self.most / 2)

    @property
    def narrowed(self) -> int | None:
        """The window where failures have left it narrower than it may be, else None."""
        return self.limit if self._before is not None and self._limit < self.most else None

    def begin_at(self, narrowed: int | None) -> None:
        """Begin as another process of the run has ended: as wide as allowed, or with what failures left of that."""
        self._limit = float(self.most)
        if narrowed is not None and narrowed < self.most:
            self._limit, self._before = max(1.0, narrowed), float(self.most)

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
            self._before = self._limit if self._before is None else self._before
            narrower = MOST_FAIL if finding is Finding.STOP else BELOW * (1 - self._evidence.excess)
            self._limit = max(min(1.0, self.most), self._limit * narrower)
        elif finding is Finding.PACE:
            self._evidence.conclude(finding, now)
        elif finding is Finding.CHANCE:
            self._evidence.conclude(finding, now)
            self._limit, self._before = min(self.most, self._before or self._limit), None
        elif not failed and not on_trial and self._limit < self.most:
            # Twice as many a round trip at first; once the window was narrowed, a little more.
            more = 1.0 if self._before is None else max(1.0 / self._limit, GROWTH)
            self._limit = min(self.most, self._limit + more)
