"""Pace: what the gateway is seen to let in, learned from its refusals, where it is less than what the job allows."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from rowmill.tasks.gateway.admission.evidence import Call, Evidence, Finding
from rowmill.tasks.gateway.admission.meter import SEEN_S, Meter

# A trial goes this far below what the gateway is thought to let in.
BELOW = 0.95
# One that is to tell chance from a limit goes so far below: what is let in is known from few calls.
FAR_BELOW = 0.85
# After a trial the pace comes back to where calls were refused within so many seconds (so many calls, such a part of
# the gateway's window, which shows only once it is full that it holds no more),
# stays near it, then feels for more ever faster: the cubic curve by which TCP looks for its share of a line.
BACK_AFTER_S = 5.0
BACK_SOON_S = 1.0
BACK_AFTER_CALLS = 40.0
BACK_AFTER_WINDOWS = 1 / 2
BACK_AFTER_MOST_S = 30.0
# How much more it goes for after as long again.
MORE = 0.12
# The windows in which a gateway may count its calls.
WINDOWS_S = (1.0, 10.0, 60.0)
# So many calls let in since the last stop show that it was over.
TELLING = 5
# A pace of which more than this is sent is what holds the calls back.
BINDING = 0.7
LEAST = 0.25
# A sliding minute that is used up lets nothing in for a while: that says little of the pace it will let in then.
OF_SEEN = 0.25
# How fast calls are sent is seen from the last of them, of a few seconds.
SENT_LAST = 512
SENT_WITHIN_S = 5.0
ENOUGH = 20


@dataclass(frozen=True, slots=True)
class _Curve:
    """Calls a second, climbing from `lowest` at the moment `since` to `highest` and beyond it.

    `failing` is the highest share of refused calls that led to it.
    """

    lowest: float
    highest: float
    since: float
    back_after: float
    failing: float

    def rate(self, now: float) -> float:
        beyond = max(0.0, now - self.since) / self.back_after - 1
        if beyond < 0:
            return self.highest + (self.highest - self.lowest) * beyond**3
        return self.highest * (1 + MORE * beyond**4)

    def delayed(self, seconds: float) -> _Curve:
        return replace(self, since=self.since + seconds)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Calls a second while a trial lasts, what is thought to be let in, and the pace that tells chance from a limit."""

    rate: float
    deepest: float
    highest: float
    began: float
    stopped: bool

    def curve(self, now: float, failing: float, window_s: float, *, first: bool) -> _Curve:
        """The climb that follows. What is let in is a guess where most calls were refused: the next ones show it."""
        highest = max(self.highest, self.rate / BELOW)
        calls_s = BACK_AFTER_CALLS / highest
        if first:
            # An alarm that chance raised has to cost little: the next one will tell.
            back_after = min(BACK_AFTER_S, max(BACK_SOON_S, 10 * calls_s))
        else:
            back_after = max(BACK_AFTER_S, 0.0 if self.stopped else calls_s)
        back_after = min(BACK_AFTER_MOST_S, max(back_after, BACK_AFTER_WINDOWS * window_s))
        return _Curve(self.rate, highest, now, back_after, failing)


@dataclass(frozen=True, slots=True)
class _Stop:
    """Since when most calls are refused, when that was met last, how long it lasts, the calls let in in each window,
    and which of the windows it is, by its place.
    """

    at: float
    last: float
    lasted: float = 0.0
    full: tuple[float, ...] = (0.0,) * len(WINDOWS_S)
    window: int = 0


class Pace:
    """Requests a second that are let in, inf until refusals are found to be about pace. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.meter = Meter(now)
        self._evidence = Evidence()
        self._sent: deque[float] = deque(maxlen=SENT_LAST)
        self._curve: _Curve | None = None
        self._trial: _Trial | None = None
        self._stop: _Stop | None = None
        # The window in which the gateway counts, as far as the last stop has shown.
        self._window_s = WINDOWS_S[0]
        self._goes_on_at = now

    @property
    def known(self) -> bool:
        """Whether refusals were found to be about pace."""
        return self._curve is not None

    def rate(self, now: float) -> float:
        if self._trial is not None:
            return self._trial.rate
        return self._curve.rate(now) if self._curve is not None else math.inf

    def admit(self, now: float) -> Call:
        """A call is sent."""
        self._sent.append(now)
        return self._evidence.admit(now)

    def forget(self, call: Call) -> None:
        """A call was never sent."""
        self._evidence.forget(call)

    def answered(self, tokens: float, now: float) -> None:
        """A call was answered, of so many tokens."""
        self.meter.add(tokens, now)

    def ended(self, call: Call, *, refused: bool, retry_after: float, now: float, allowed: float) -> Finding | None:
        """A call was refused, or was not. `allowed` is the rate that the job allows."""
        finding = self._evidence.observe(call, failed=refused, now=now)
        if finding is Finding.EARLY:
            self._stop = _Stop(now, now)
        elif finding is Finding.EXCESS or finding is Finding.STOP:
            self._slow_down(finding, retry_after, now, allowed=allowed)
        elif finding is Finding.PACE and self._trial is not None:
            failing = max(self._evidence.failing, self._curve.failing if self._curve is not None else 0.0)
            trial = self._trial
            if trial.stopped:
                full = self._full(now, 0.0)
                trial = replace(trial, rate=min(trial.rate, full * BELOW), highest=full)
            first = self._curve is None and not trial.stopped
            trial = replace(trial, highest=trial.highest * (1 - self._evidence.conclude(finding, now)))
            self._curve = trial.curve(now, failing, self._window_s, first=first)
            self._trial = self._stop = None
        elif finding is Finding.CHANCE and self._trial is not None:
            return self._put_down_to_chance(self._trial, now)
        return finding

    def paused(self, until: float) -> None:
        """Nothing goes until then: that time shows nothing."""
        if until > self._goes_on_at:
            if self._curve is not None:
                self._curve = self._curve.delayed(until - max(self._goes_on_at, self._curve.since))
            self._goes_on_at = until

    def _slow_down(self, finding: Finding, retry_after: float, now: float, *, allowed: float) -> None:
        """Begin a trial: what went in so far, and a little less."""
        sent = self._sent_at(now, allowed)
        highest = max(LEAST, sent * (1 - self._evidence.excess))
        rate = deepest = min(highest, self._answering(now)) * FAR_BELOW
        if finding is Finding.STOP:
            highest = max(LEAST, self._stopped(now, sent, retry_after))
            rate = deepest = highest * BELOW
        elif retry_after > WINDOWS_S[0] and self._stop is None:
            # Nothing is to go in for long: what went in until now is what the window holds.
            self._stop = _Stop(now, now)
            self._full(now, retry_after)
        elif self._curve is not None and self._trial is None:
            # What was let in before is let in still, most likely.
            before = min(sent, self._curve.highest)
            rate = max(before * BELOW, deepest * FAR_BELOW)
            highest = max(before, min(highest, self._answering(now)))
        elif self._curve is not None and self._window_s > WINDOWS_S[0]:
            # The window is full: what went in in it is its limit.
            highest = max(highest, self._evidence.succeeded.within(self._window_s, now)[0] / self._window_s)
        began = self._trial.began if self._trial is not None else now
        self._trial = _Trial(max(LEAST, rate), max(LEAST, deepest), highest, began, finding is Finding.STOP)

    def _stopped(self, now: float, sent: float, retry_after: float) -> float:
        """What is let in where most calls were refused, by the windows in which the gateway may count.

        When it refuses most calls its window is full: what went in until then is its limit. Which window that is shows
        by how long nothing goes in, or is to go in by its own word.
        """
        stop, passed = self._stop, self._evidence.passed_before
        if stop is None or passed >= TELLING or now - stop.at > SEEN_S:
            self._stop = _Stop(now, now, window=WINDOWS_S.index(self._window_s))
        else:
            self._stop = replace(stop, last=now)
        full = self._full(now, retry_after)
        gap = now - stop.last if stop is not None else math.inf
        if passed >= TELLING and 0 < gap < WINDOWS_S[1]:
            full = min(full, passed / gap)
        seen = self._evidence.succeeded.within(SEEN_S, now)[0] / SEEN_S
        return max(min(sent, full), seen * OF_SEEN)

    def _full(self, now: float, retry_after: float) -> float:
        stop = self._stop
        if stop is None:
            return math.inf
        lasted = max(stop.lasted, stop.last - stop.at, retry_after - 1)
        counts = [self._evidence.succeeded.within(seconds + now - stop.at, now)[0] for seconds in WINDOWS_S]
        full = tuple(max(pair) for pair in zip(stop.full, counts, strict=True))
        possible = (at for at, seconds in enumerate(WINDOWS_S) if at >= stop.window and lasted < seconds and full[at])
        at = next(possible, len(WINDOWS_S) - 1)
        self._stop = replace(stop, full=full, lasted=lasted, window=at)
        self._window_s = WINDOWS_S[at]
        return full[at] / self._window_s

    def _sent_at(self, now: float, allowed: float) -> float:
        """Calls a second that were sent: the pace, unless something else held them back."""
        pace, sending = min(self.rate(now), allowed), self._sending(now)
        return pace if sending > BINDING * pace else sending

    def _put_down_to_chance(self, trial: _Trial, now: float) -> Finding | None:
        """As many are refused as before: by chance, if the trial was slow enough to tell."""
        if trial.deepest < trial.rate:
            self._trial = replace(trial, rate=trial.deepest, highest=trial.deepest / FAR_BELOW)
            self._evidence.try_again(now)
            return None
        self._trial = None
        self._evidence.conclude(Finding.CHANCE, now)
        if self._curve is not None and self._curve.failing > self._evidence.explained:
            self._curve = self._curve.delayed(now - trial.began)
        else:
            self._curve = None
        return Finding.CHANCE

    def _answering(self, now: float) -> float:
        """Calls a second that were answered lately. None can be before the first of them has had its time."""
        seconds = min(SENT_WITHIN_S, now - self._goes_on_at - self._evidence.answered_after_s)
        answered = self._evidence.succeeded.within(seconds, now)[0]
        return answered / seconds if answered >= ENOUGH and seconds >= 1 else math.inf

    def _sending(self, now: float) -> float:
        """Calls sent a second lately."""
        while self._sent and self._sent[0] < max(now - SENT_WITHIN_S, self._goes_on_at):
            self._sent.popleft()
        if len(self._sent) < 2 or now <= self._sent[0]:
            return math.inf
        return len(self._sent) / (now - self._sent[0])
