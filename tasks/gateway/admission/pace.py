"""Pace: what the gateway is seen to let in, learned from its refusals, where it is less than what the job allows."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from rowmill.tasks.gateway.admission.evidence import Evidence, Finding
from rowmill.tasks.gateway.admission.meter import SEEN_S, Meter

# A trial goes this far below what the gateway is thought to let in.
BELOW = 0.95
# After a trial the pace comes back to where calls were refused within so many seconds (and at least so many calls),
# stays near it, then feels for more ever faster: the cubic curve by which TCP looks for its share of a line.
BACK_AFTER_S = 5.0
BACK_AFTER_CALLS = 40.0
BACK_AFTER_MOST_S = 20.0
# A sliding minute that is used up lets nothing in for a while: that says little of the pace it will let in then.
OF_SEEN = 0.25
# Where most calls were refused, what is let in may be so much more than the few that went in show.
MORE = 1.3
LEAST = 0.25
# How fast calls are sent is seen from the last of them, of a few seconds.
SENT_LAST = 512
SENT_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Curve:
    """Calls a second, climbing from `lowest` at the moment `since` to `highest` and beyond it.

    `failing` is the highest share of refused calls that led to it.
    """

    lowest: float
    highest: float
    since: float
    failing: float

    def rate(self, now: float) -> float:
        back_after = min(BACK_AFTER_MOST_S, max(BACK_AFTER_S, BACK_AFTER_CALLS / self.highest))
        beyond = max(0.0, now - self.since) / back_after - 1
        return self.highest + (self.highest - self.lowest) * beyond**3

    def delayed(self, seconds: float) -> _Curve:
        return replace(self, since=self.since + seconds)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Calls a second while a trial lasts, what is thought to be let in, and the pace that tells chance from a limit."""

    rate: float
    deepest: float
    highest: float
    began: float


class Pace:
    """Requests a second that are let in, inf until refusals are found to be about pace. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.meter = Meter(now)
        self._evidence = Evidence()
        self._sent: deque[float] = deque(maxlen=SENT_LAST)
        self._curve: _Curve | None = None
        self._trial: _Trial | None = None
        self._goes_on_at = now

    @property
    def known(self) -> bool:
        """Whether refusals were found to be about pace."""
        return self._curve is not None

    def rate(self, now: float) -> float:
        if self._trial is not None:
            return self._trial.rate
        return self._curve.rate(now) if self._curve is not None else math.inf

    def sent(self, now: float) -> None:
        self._sent.append(now)

    def answered(self, tokens: float, now: float) -> None:
        """A call was answered, of so many tokens."""
        self.meter.add(tokens, now)

    def ended(self, *, refused: bool, admitted_at: float, now: float, allowed: float) -> Finding | None:
        """A call that was admitted then was refused, or was not. `allowed` is the rate that the job allows."""
        finding = self._evidence.observe(failed=refused, admitted_at=admitted_at, now=now)
        if finding is Finding.EXCESS or finding is Finding.STOP:
            self._slow_down(finding, now, allowed)
        elif finding is Finding.PACE and self._trial is not None:
            failing = max(self._evidence.failing, self._curve.failing if self._curve is not None else 0.0)
            self._curve = _Curve(self._trial.rate, max(self._trial.highest, self._trial.rate / BELOW), now, failing)
            self._trial = None
            self._evidence.conclude(finding, now)
        elif finding is Finding.CHANCE and self._trial is not None:
            return self._put_down_to_chance(self._trial, now)
        return finding

    def paused(self, until: float) -> None:
        """Nothing goes until then: that time shows nothing."""
        if until > self._goes_on_at:
            if self._curve is not None:
                self._curve = self._curve.delayed(until - max(self._goes_on_at, self._curve.since))
            self._goes_on_at = until

    def _slow_down(self, finding: Finding, now: float, allowed: float) -> None:
        """Begin a trial: what went in so far, and a little less."""
        sent = min(self.rate(now), allowed, self._sending(now))
        let_in = sent * (1 - self._evidence.excess)
        deepest = highest = let_in
        if finding is Finding.STOP:
            seen = self.meter.a_minute(now)[0] / SEEN_S
            let_in = deepest = max(min(let_in, seen), seen * OF_SEEN)
            highest = min(seen, MORE * let_in)
        elif self._curve is not None:
            # What was let in before is let in still, most likely.
            let_in = highest = max(let_in, min(sent, self._curve.highest))
        began = self._trial.began if self._trial is not None else now
        self._trial = _Trial(max(LEAST, let_in * BELOW), max(LEAST, deepest * BELOW), highest, began)

    def _put_down_to_chance(self, trial: _Trial, now: float) -> Finding | None:
        """As many are refused as before: by chance, if the trial was slow enough to tell."""
        if trial.deepest < trial.rate:
            self._trial = replace(trial, rate=trial.deepest, highest=trial.deepest / BELOW)
            self._evidence.try_again(now)
            return None
        self._trial = None
        self._evidence.conclude(Finding.CHANCE, now)
        if self._curve is not None and self._curve.failing > self._evidence.explained:
            self._curve = self._curve.delayed(now - trial.began)
        else:
            self._curve = None
        return Finding.CHANCE

    def _sending(self, now: float) -> float:
        """Calls sent a second lately."""
        while self._sent and self._sent[0] < max(now - SENT_WITHIN_S, self._goes_on_at):
            self._sent.popleft()
        if len(self._sent) < 2 or now <= self._sent[0]:
            return math.inf
        return len(self._sent) / (now - self._sent[0])
