"""Pace: what the gateway is seen to let in, learned from its refusals, where it is less than what the job allows."""

from __future__ import annotations

import math

from rowmill.tasks.gateway.admission.meter import SEEN_S, Meter

# A refusal after a quiet time was met by feeling for more; one soon after another means that the pace is far off.
QUIET_S = 4.0
SLIGHTLY = 0.95
STRONGLY = 0.8
# After a refusal the pace comes back to where it was refused within so many seconds, stays near it, then feels for more
# ever faster: the cubic curve by which TCP looks for its share of a line.
BACK_AFTER_S = 5.0
# A sliding minute that is used up lets nothing in for a while: that says little of the pace it will let in then.
OF_SEEN = 0.25


class Pace:
    """Requests a second that are let in, inf until the first refusal. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.meter = Meter(now)
        self._refused_at = -math.inf
        self._goes_on_at = -math.inf
        self._highest = math.inf
        self._lowest = math.inf

    def rate(self, now: float) -> float:
        if self._highest == math.inf:
            return math.inf
        beyond = (max(now, self._goes_on_at) - self._goes_on_at) / BACK_AFTER_S - 1
        return self._highest + (self._highest - self._lowest) * beyond**3

    def let_in(self, tokens: float, now: float) -> None:
        """A call was answered, of so many tokens."""
        self.meter.add(tokens, now)

    def refused(self, now: float, admitted_at: float, asked: float) -> None:
        """A call that was admitted then was too fast. `asked` is the rate at which calls are let go at most."""
        if admitted_at < self._refused_at:
            return
        quiet = now - self._goes_on_at > QUIET_S
        seen = self.meter.a_minute(now)[0] / SEEN_S
        self._highest = min(self.rate(now), asked)
        if self._highest == math.inf:
            self._highest = max(seen, 1 / SEEN_S)
        self._lowest = max(self._highest * (SLIGHTLY if quiet else STRONGLY), seen * OF_SEEN)
        self._lowest = min(self._lowest, self._highest * SLIGHTLY)
        self._highest = self._highest if quiet else self._lowest / SLIGHTLY
        self._refused_at = self._goes_on_at = now

    def paused(self, until: float) -> None:
        """Nothing goes until then: that time shows nothing."""
        self._goes_on_at = max(self._goes_on_at, until)
