"""Evidence: whether calls fail because too many are sent, judged by what slowing down changes.

A limit that was overstepped stops failing calls once they come slower. Shared capacity behind a gateway fails the same
share of calls at any pace: slowing down for it would only cost time. The tests are Wald's: a cumulative sum that raises
the alarm when failures become more frequent than chance explains, and a sequential probability ratio test that ends a
trial as soon as its calls have decided it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum

from rowmill.tasks.gateway.admission.meter import Meter

# A share of failures that asks for nothing, whatever its cause: slowing down would cost more than it saves.
TOLERATED = 0.02
# Above what chance explains by this much, failures raise the alarm.
EXCESS = 0.04
ALARM_AT = 3.3
# So many calls have to succeed before anything is known.
KNOWN_AFTER = 2
# Most calls fail: no chance that is met in practice explains that. Seven failures in a row are enough.
MOST_CALLS = 0.6
MOST_CHANCE = 0.15
STOP_AT = 9.0
# A trial is decided at odds of 20 to 1; of 6 to 1 where it shows what the last one has shown.
DECIDED_AT = math.log(20)
AGAIN_AT = math.log(6)
# Failures are put down to chance after so many trials, each at a lower pace; a share above this after more of them.
ROUNDS = 2
CHANCE_MOST = 0.25
ROUNDS_MOST = 4
# Fewer calls show no chance.
TRIAL_LEAST = 20
# An alarm of few calls shows at most so much more than three times the share that chance has.
EXPLAINED_MORE = 0.15
# Trials in which slowing down did nothing are repeated after so many times their own length, doubled each time.
REPEAT_AFTER = 20.0
REPEAT_LEAST_S = 30.0
REPEAT_MOST_S = 1_800.0
# How soon calls end is taken over so many of them. Beyond so many calls in flight the first are not waited for.
TOOK_OVER = 20
PENDING_MOST = 10_000
# The share of chance is put right after so many calls.
REFINED_OVER = 1_000
# Calls that the share known so far weighs as many as.
KNOWN_WEIGHT = 50.0


class Finding(Enum):
    """What the calls that have ended show: what to do about the pace."""

    EARLY = "a call failed before anything is known: wait, and see"
    EXCESS = "more calls fail than chance explains: slow down a little, and see"
    STOP = "most calls fail: stop for a while"
    PACE = "fewer fail since: the pace was the cause"
    CHANCE = "as many fail as before: the pace is not the cause"


@dataclass(slots=True, eq=False)
class Call:
    """A call on its way: whether it has failed, once it has ended, and whether it is counted."""

    admitted_at: float
    failed: bool | None = None
    counted: bool = False


class _Alarm:
    """A cumulative sum that tells a share of failures of `chance` from `other`. `failing` is the share seen since
    the sum was last at nothing.
    """

    def __init__(self, chance: float, other: float, threshold: float, *, few: float) -> None:
        """`few` calls that did not fail are added to those seen: an alarm is raised when many happen to fail."""
        self.threshold, self._level, self._few = threshold, 0.0, few
        self._calls = self._failures = 0
        self.compare(chance, other)

    def compare(self, chance: float, other: float) -> None:
        self._if_failed = math.log(other / chance)
        self._if_not = math.log((1 - other) / (1 - chance))

    def observe(self, *, failed: bool) -> bool:
        """Whether the alarm is raised."""
        if not failed and not self._level:
            return False
        self._level = max(0.0, self._level + (self._if_failed if failed else self._if_not))
        if self._level == 0.0:
            self._calls = self._failures = 0
            return False
        self._calls += 1
        self._failures += failed
        return failed and self._level >= self.threshold

    @property
    def failing(self) -> float:
        return self._failures / (self._calls + self._few)

    def reset(self, level: float = 0.0) -> None:
        self._level = level
        self._calls = self._failures = 0


class _Trial:
    """Calls at a slower pace: do as many fail as before (`before`), or no more than chance explains (`chance`)?"""

    def __init__(self, since: float, before: float, chance: float, *, round_: int, pace_at: float) -> None:
        self.since, self.round, self._pace_at = since, round_, pace_at
        self._before, self._chance = before, chance
        self.calls = self.failures = 0
        self._odds = 0.0
        self._if_failed = math.log(before / chance)
        self._if_not = math.log((1 - before) / (1 - chance))

    def anew(self, since: float) -> _Trial:
        return _Trial(since, self._before, self._chance, round_=self.round, pace_at=self._pace_at)

    def observe(self, *, failed: bool) -> Finding | None:
        self.calls += 1
        self.failures += failed
        self._odds += self._if_failed if failed else self._if_not
        if self._odds <= -self._pace_at:
            return Finding.PACE
        return Finding.CHANCE if self._odds >= DECIDED_AT else None


class Evidence:
    """The calls of one kind of limit, as they end. Times are monotonic seconds.

    Between trials it watches for more failures than chance explains. After EXCESS or STOP whoever asks slows down, and
    the calls admitted from then on are the trial. When it has come to PACE or CHANCE whoever asks concludes it, or
    slows down more and tries again.
    """

    def __init__(self) -> None:
        # The share of calls that fail whatever the pace, as far as trials have shown.
        self.chance = 0.0
        self.succeeded = Meter(0.0)
        self._stop = _Alarm(MOST_CHANCE, MOST_CALLS, STOP_AT, few=1.0)
        self._excess = _Alarm(TOLERATED, TOLERATED + EXCESS, ALARM_AT, few=8.0)
        self._trial: _Trial | None = None
        self._last: Finding | None = None
        self._changed_at = self._early_at = -math.inf
        self._repeat_s = REPEAT_LEAST_S
        self._repeat_at = math.inf
        self._calls = self._failures = 0
        # Seconds after which calls end that succeed, and that fail; calls that do not count yet, as they were admitted.
        self._took = [math.inf, math.inf]
        self._pending: deque[Call] = deque()
        # Calls admitted since the last change of the pace that succeeded.
        self.passed = self.passed_before = 0
        # The share of calls that failed when the last alarm was raised.
        self.failing = 0.0

    @property
    def on_trial(self) -> bool:
        return self._trial is not None

    @property
    def answered_after_s(self) -> float:
        """Seconds that calls take which succeed; 0 before one has."""
        took = self._took[False]
        return took if took < math.inf else 0.0

    @property
    def excess(self) -> float:
        """The share of calls that failed beyond chance when the last alarm was raised."""
        return max(0.0, self.failing - self.chance)

    @property
    def explained(self) -> float:
        """The share of failures that chance alone may have brought about in an alarm."""
        return 3 * self.chance + EXPLAINED_MORE

    def admit(self, now: float) -> Call:
        """A call is sent."""
        call = Call(now)
        self._pending.append(call)
        return call

    def observe(self, call: Call, *, failed: bool, now: float) -> Finding | None:
        """A call has ended. One that was admitted at another pace says nothing of this one.

        Calls count in the order in which they were admitted: refusals come back sooner than answers, and many in a row
        would say nothing about their share.
        """
        known, took = self._took[failed], now - call.admitted_at
        self._took[failed] = took if known == math.inf else known + (took - known) / TOOK_OVER
        call.failed = failed
        finding = self._count(call, failed=True, now=now) if call.counted and failed else None
        # A call that has not failed by the time when others have ended is going to succeed.
        since = now - 2 * min(self._took)
        while finding is None and self._pending:
            first = self._pending[0]
            if first.failed is None and first.admitted_at >= since and len(self._pending) <= PENDING_MOST:
                break
            self._pending.popleft()
            if not first.counted:
                finding = self._count(first, failed=bool(first.failed), now=now)
        return finding

    def forget(self, call: Call) -> None:
        """A call was never sent."""
        call.counted, call.failed = True, False

    def _count(self, call: Call, *, failed: bool, now: float) -> Finding | None:
        call.counted = True
        if not failed:
            self.succeeded.add(0.0, now)
        if call.admitted_at <= self._changed_at:
            return None
        self.passed += not failed
        if self._stop.observe(failed=failed):
            return self._begin_trial(Finding.STOP, self._stop.failing, now)
        if failed and self.succeeded.total < KNOWN_AFTER and call.admitted_at > self._early_at:
            self._early_at = now
            return Finding.EARLY
        return self._weigh(failed=failed, now=now)

    def _weigh(self, *, failed: bool, now: float) -> Finding | None:
        if self._trial is not None:
            return self._on_trial(self._trial, self._trial.observe(failed=failed), now)
        self._refine(failed=failed)
        if self._excess.observe(failed=failed):
            return self._begin_trial(Finding.EXCESS, self._excess.failing, now)
        if failed and now >= self._repeat_at:
            # What was put down to chance before may have been the pace after all.
            known, self.chance = self.chance, 0.0
            return self._begin_trial(Finding.EXCESS, known, now)
        return None

    def try_again(self, now: float) -> None:
        """The trial goes on at another pace: calls from now on count."""
        if self._trial is not None:
            self._trial = self._trial.anew(now)
            self._change(now)

    def _begin_trial(self, finding: Finding, failing: float, now: float) -> Finding:
        least = max(self.chance, TOLERATED / 4)
        self.failing = min(0.95, max(failing, least + EXCESS / 2))
        # A share seen in few calls may well be half of that.
        round_ = self._trial.round + 1 if self._trial is not None else 1
        pace_at = AGAIN_AT if self._last is Finding.PACE else DECIDED_AT
        self._trial = _Trial(now, max(self.failing / 2, least + EXCESS), least, round_=round_, pace_at=pace_at)
        self._change(now)
        self._stop.reset(STOP_AT / 2 if finding is Finding.STOP else 0.0)
        self._excess.reset()
        return finding

    def _change(self, now: float) -> None:
        """Calls go at another pace from now on."""
        self.passed_before, self.passed = self.passed, 0
        self._changed_at = now

    def _on_trial(self, trial: _Trial, finding: Finding | None, now: float) -> Finding | None:
        """What the trial has come to. More failures than chance brings about are tried at a lower pace yet."""
        if finding is not Finding.CHANCE or trial.calls < TRIAL_LEAST:
            return None if finding is Finding.CHANCE else finding
        rounds = ROUNDS if trial.failures <= CHANCE_MOST * trial.calls else ROUNDS_MOST
        if trial.round >= rounds:
            return finding
        return self._begin_trial(Finding.EXCESS, trial.failures / trial.calls, now)

    def conclude(self, finding: Finding, now: float) -> float:
        """The trial has ended in PACE or CHANCE. Returns the share of its calls that failed beyond chance."""
        trial, self._trial, self._last = self._trial, None, finding
        if trial is None:
            return 0.0
        self._calls, self._failures = trial.calls, trial.failures
        beyond = trial.failures / trial.calls - self.chance
        if finding is Finding.CHANCE:
            self._expect(trial.failures / trial.calls)
        elif beyond < 0:
            self._expect((trial.failures + self.chance * KNOWN_WEIGHT) / (trial.calls + KNOWN_WEIGHT))
        if finding is Finding.CHANCE:
            took = REPEAT_AFTER * (now - trial.since)
            self._repeat_s = min(REPEAT_MOST_S, max(REPEAT_LEAST_S, took, 2 * self._repeat_s))
            self._repeat_at = now + self._repeat_s
        else:
            self._repeat_s, self._repeat_at = REPEAT_LEAST_S, math.inf
        return max(0.0, beyond)

    def _refine(self, *, failed: bool) -> None:
        """A trial has seen few calls: those after it may show that chance has less of a share, never more."""
        self._calls += 1
        self._failures += failed
        if self._calls >= REFINED_OVER:
            expected = self.chance * self._calls
            if self._failures < expected - 2 * math.sqrt(expected):
                self._expect(self._failures / self._calls)
            self._calls, self._failures = self._calls // 2, self._failures // 2

    def _expect(self, chance: float) -> None:
        self.chance = chance
        least = max(TOLERATED, min(2 * chance, chance + EXCESS))
        self._excess.compare(least, least + EXCESS)
        most = max(MOST_CHANCE, 1.5 * chance)
        self._stop.compare(most, max(MOST_CALLS, most + 0.2))
