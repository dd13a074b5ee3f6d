"""Gate: what every call passes, retries too: breaker, budget, limiter and concurrency at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf

from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.schemas.termination import Termination
from rowmill.tasks.gateway.admission.alarm import Alarm
from rowmill.tasks.gateway.admission.breaker import Breaker
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.daily_budget import DailyBudget
from rowmill.tasks.gateway.admission.deadline import Deadline
from rowmill.tasks.gateway.admission.evidence import Finding
from rowmill.tasks.gateway.admission.halts import LEASE_ENDED, bill_too_high, outage, spent_up
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.gateway.admission.permit import Permit
from rowmill.tasks.gateway.admission.phase import Event, Phase, phase_after
from rowmill.tasks.gateway.admission.refusal_pauses import RefusalPauses
from rowmill.tasks.gateway.admission.refused_rows import RefusedRows
from rowmill.tasks.gateway.admission.shared_budget import SharedBudget
from rowmill.tasks.gateway.admission.shared_cap import SharedCap
from rowmill.tasks.gateway.admission.waiting_line import Place, WaitingLine
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action, FailurePolicy
from rowmill.tasks.system.clock import Clock

# A closed gate is looked at again this often, so that one that opens early is not waited out.
LOOK_AGAIN_S = 0.25
RECENT = 200
ANSWERED = "answered"
# A limit is near for so long after the last answer: a sliding minute that was used up lets nothing in for one.
NEAR_S = 120.0
REFUSALS = (FailureKind.RATE_LIMIT, FailureKind.BARE_429)


class Halted(Exception):
    """The run is over for calls that are not in flight yet."""


class TooDear(Exception):
    """What is left of the money does not cover this call, which can be divided into smaller ones."""


class Gate:
    """Lets calls through, one decision at a time, first come first served; a refused row rests before it comes back.

    Until the first call has shown that key, address and model are right, and after a 429 that did not say which limit
    it met, calls go alone.
    """

    def __init__(
        self, *, limiter: Limiter, concurrency: Concurrency, budget: Budget, clock: Clock, outage_s: float
    ) -> None:
        self.limiter, self.concurrency, self.budget = limiter, concurrency, budget
        self.breaker = Breaker()
        self.in_flight = 0
        self.waiting_for: str | None = None
        # Rows that failed at least once and are not settled yet, and the failures met lately with their times.
        self.retrying = 0
        self.recent: deque[tuple[float, str]] = deque(maxlen=RECENT)
        # Calls that ended, by their failure kind, or `answered`.
        self.verdicts: dict[str, int] = {}
        self._clock, self._outage_s = clock, outage_s
        self._last_upstream: Failure | None = None
        self._loop = asyncio.get_running_loop()
        self._phase = Phase.UNTRIED
        self._line = WaitingLine()
        self._refused_rows = RefusedRows()
        self._pauses = RefusalPauses()
        self._answered_at = float("-inf")
        # Whether a 429 without a body was seen to be about pace: the call after it was answered.
        self._bare_is_pace = False
        self._alarm = Alarm(clock, self._let_in)
        # Where storing an answer takes long, its call keeps its slot until then: no more than the calls that may be in
        # flight are ever paid for and not stored.
        self.holds_until_stored = False
        self._storing: set[int] = set()
        # The part of a day's money that this run has, where its job names such a budget.
        self.daily: DailyBudget | None = None
        # The part of the cap of all parts of a job, where this run is of one of them.
        self.shared_cap: SharedCap | None = None
        # No call goes from that moment of the wall clock on, whatever this machine did until then.
        self.deadline: Deadline | None = None
        # Calls go until then; whoever extends it holds a lease.
        self.valid_until = inf
        self.termination: Termination | None = None
        self.on_halt: Callable[[], None] = lambda: None
        # Called with a row whose call failed and will be tried again.
        self.on_retry: Callable[[int], None] = lambda row: None

    async def enter(self, row: int, tokens: float, worst_usd: int, *, divisible: bool = False) -> Permit:
        """Wait for the turn of this call. Raises Halted once the run has ended for what is not in flight.

        One that is `divisible` does not end the run where it is too dear, nor waits for more money: raises TooDear.
        """
        if self.termination is not None:
            raise Halted
        place = Place(row, tokens, worst_usd, self._loop.create_future(), divisible)
        rests_until = self._refused_rows.rests_until(row)
        if rests_until > self._clock.now():
            self._line.rest(place, rests_until)
            self._let_in()
        else:
            self._line.join(place)
            if len(self._line) == 1:
                self._let_in()
        if place.turn.done():
            return place.turn.result()
        try:
            return await place.turn
        except asyncio.CancelledError:
            if place.turn.cancelled():
                self._let_in()
            elif place.turn.exception() is None:
                self.abandon(place.turn.result())
            raise

    def _let_in(self) -> None:
        """Let in whoever may go now, in order; where only time opens the gate, look again then."""
        now = self._clock.now()
        looks_again: float | None = None
        while (place := self._line.first(now)) is not None:
            if now >= self.valid_until:
                self.halt(LEASE_ENDED)
                return
            if self.end_if_late():
                return
            try:
                self.waiting_for, wait = self._closed(place, now)
            except TooDear as error:
                self._line.leave()
                place.turn.set_exception(error)
                continue
            if self.termination is not None:
                return
            if self.waiting_for is not None:
                looks_again = None if wait is None else now + wait
                break
            self._line.leave()
            place.turn.set_result(self._take(place, now))
        moments = [moment for moment in (looks_again, self._line.next_from_rest()) if moment is not None]
        if place is not None and self.valid_until < inf:
            # Whoever holds the lease may have been waited for: nothing else would tell that it is gone.
            moments.append(self.valid_until)
        if moments:
            self._alarm.set(min(moments), now)

    def _closed(self, place: Place, now: float) -> tuple[str | None, float | None]:
        """Why the gate is closed and for how many seconds; None seconds means until a call ends. Raises TooDear."""
        if self.breaker.is_open:
            if self.breaker.open_for(now) >= self._outage_s:
                self.halt(outage(self._outage_s, self._last_upstream))
                return "outage", 0.0
            if self.in_flight:
                return "outage", None
            if wait := self.breaker.probe_wait(now):
                return "outage", min(wait, LOOK_AGAIN_S)
        if self._phase is not Phase.TOGETHER and self.in_flight:
            return "first call", None
        if self.in_flight + len(self._storing) >= self.concurrency.limit:
            return "concurrency", None
        for shared in self.shared_budgets:
            shared.follow()
        if not self.budget.fits(place.worst_usd):
            return self._short_of_money(place)
        if wait := self.limiter.wait(place.tokens, now):
            return "rate limit", min(wait, LOOK_AGAIN_S) if self.limiter.paused(now) else wait
        return None, None

    def _short_of_money(self, place: Place) -> tuple[str, float | None]:
        """What a call that does not fit waits for; where that is nothing, the run ends. Raises TooDear."""
        worst = place.worst_usd
        short = [shared for shared in self.shared_budgets if not shared.fits(worst)]
        if short and self.budget.fits_cap(worst):
            # What is in flight may cost less than it could.
            if short[0].widens(worst) or self.in_flight:
                return short[0].kind, None
            if place.divisible:
                raise TooDear
            self.halt(short[0].spent_up(worst))
            return short[0].kind, 0.0
        if self.in_flight:
            return "budget", None
        if place.divisible:
            raise TooDear
        if self.budget.is_quota:
            return "budget", None
        self.halt(spent_up(self.budget, self.budget.spent, worst))
        return "budget", 0.0

    @property
    def shared_budgets(self) -> list[SharedBudget]:
        """Money that this run shares with others."""
        if self.shared_cap is None and self.daily is None:
            return []
        return [shared for shared in (self.shared_cap, self.daily) if shared is not None]

    def _take(self, place: Place, now: float) -> Permit:
        self._on(Event.SENT)
        taking = self.limiter.take(place.tokens, now)
        self.budget.reserve(place.worst_usd)
        self.in_flight += 1
        alone = self._phase is not Phase.TOGETHER or self.breaker.is_open
        return Permit(place.row, taking, place.worst_usd, self.concurrency.admit(now), alone)

    def release(
        self,
        permit: Permit,
        *,
        used_tokens: int | None,
        cost_usd: int,
        failure: Failure | None,
        excused: bool = False,
    ) -> None:
        """A call ended. `used_tokens` is None where its usage is unknown, `cost_usd` (10⁻¹²) its cost or its bound.

        Under a cap a cost beyond the worst case ends the run, unless it is `excused`: known, and allowed for from now.
        """
        now = self._clock.now()
        self.in_flight -= 1
        if self.holds_until_stored:
            self._storing.add(permit.row)
        if not self.budget.settle(permit.worst_usd, cost_usd) and not excused:
            self.halt(bill_too_high(permit.row, cost_usd, permit.worst_usd))
        if used_tokens is not None:
            self.limiter.settle(permit.taking, used_tokens, now)
        self._learn(permit, failure, used_tokens or 0, now=now)
        self._let_in()

    def stored(self, row: int) -> None:
        """What this row's call brought is durable."""
        if row in self._storing:
            self._storing.discard(row)
            self._let_in()

    def settled(self, row: int) -> None:
        """This row has its outcome: nothing more is to be known of it here."""
        self.breaker.settled(row)
        self._refused_rows.settled(row)

    def abandon(self, permit: Permit) -> None:
        """A call that was admitted was never sent."""
        self.in_flight -= 1
        self.budget.settle(permit.worst_usd, 0)
        self.limiter.refund(permit.taking, self._clock.now())
        self.concurrency.forget(permit.slot)
        self._let_in()

    def look_again(self) -> None:
        """Something that calls wait for has changed elsewhere."""
        self._let_in()

    def take_share(self, rpm: float, tpm: float) -> None:
        """Go by these shares of the limits from now on."""
        self.limiter.share(rpm, tpm, self._clock.now())
        self._let_in()

    def take_quota(self, concurrency: int, cap_usd: int | None) -> None:
        """Go by these quotas of the calls in flight and of the cap from now on."""
        self.concurrency.share(concurrency)
        if cap_usd is not None:
            self.budget.take_quota(cap_usd)
        self._let_in()

    @property
    def free_slots(self) -> int:
        """Calls that could go at once, as far as slots tell: none while others wait for their turn."""
        if self.termination is not None or len(self._line) or (self._phase is not Phase.TOGETHER and self.in_flight):
            return 0
        slots = self.concurrency.limit if self._phase is Phase.TOGETHER else 1
        return max(0, int(slots) - self.in_flight - len(self._storing))

    @property
    def verified(self) -> bool:
        """Whether a call has shown that key, address and model are right, so that calls need not go alone."""
        return self._phase is Phase.TOGETHER

    def verify(self) -> None:
        """Another process has shown it for the same key: our first call need not go alone, or has done so for long
        enough.
        """
        self._on(Event.VERIFIED)
        self._let_in()

    def opens_in(self, now: float) -> float:
        """Seconds until the gate opens, where only time opens it: a pause, or the breaker's next probe."""
        return max(self.limiter.paused_s(now), self.breaker.probe_wait(now))

    def may_wait_uncharged(self, since: float, *, times: int = 1) -> bool:
        """Whether a row that was refused (429) may wait once more without a charge to its retries.

        `since` is the moment of its refusal before this one (of its admission, where this is the first), `times` how
        often in a row it was refused. It may while a limit is near: ours or the gateway's holds calls back, and some
        were answered in the last two minutes. Otherwise only while others are answered, and only as often in a row as
        chance explains at the share of calls refused lately: beyond that it is the row that is refused.
        """
        now = self._clock.now()
        if self.limiter.is_near(now) and now - self._answered_at <= NEAR_S:
            return True
        return self._answered_at > since and self._refused_rows.by_chance(times)

    def _learn(self, permit: Permit, failure: Failure | None, tokens: int, *, now: float) -> None:
        policy = FAILURE_POLICIES[failure.kind] if failure else None
        verdict = ANSWERED if failure is None else failure.kind.value
        self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
        if failure is not None:
            self.recent.append((now, failure.kind.value))
        if failure is not None and policy and policy.upstream:
            self._last_upstream = failure
        if policy and policy.upstream:
            self.breaker.failed(permit.row, now, probe=permit.alone)
        else:
            self.breaker.answered(permit.row, now)
        if policy is None:
            self._answered_at = now
            self._pauses.answered()
            self.limiter.answered(tokens, now)
        self.concurrency.ended(permit.slot, failed=policy is not None and policy.slows, now=now)
        refusal = failure if failure is not None and failure.kind in REFUSALS else None
        self._learn_pace(permit, refusal, now)
        if policy is None or _proves(policy):
            self._bare_is_pace = self._bare_is_pace or (self._phase is Phase.PROBING and permit.alone)
            self._on(Event.PROVED)
        if policy and policy.action in (Action.WAIT, Action.RETRY):
            self.on_retry(permit.row)

    def _learn_pace(self, permit: Permit, refusal: Failure | None, now: float) -> None:
        retry_after = refusal.retry_after if refusal else None
        alone = self._answered_at > permit.slot.admitted_at
        self._refused_rows.ended(permit.row, refused=refusal is not None, retry_after=retry_after, alone=alone, now=now)
        finding = self.limiter.ended(permit.taking, refused=refusal is not None, retry_after=retry_after, now=now)
        if refusal is None:
            return
        stops = finding in (Finding.STOP, Finding.EARLY)
        if stops and retry_after is None:
            self.limiter.pause(now + self._pauses.next_s())
        elif retry_after is not None and (stops or self.limiter.paused(now) or self._may_pause(retry_after, now)):
            self.limiter.pause(now + retry_after)
        if refusal.kind is FailureKind.BARE_429 and (stops or not self._bare_is_pace):
            self._bare_is_pace = False
            self._on(Event.DOUBTED)

    def _may_pause(self, retry_after: float, now: float) -> bool:
        """Whether everybody waits for one refusal: where a limit that the job names holds calls back, at 1 % of the
        time at most. The pace of a trial, which may show chance, is none.
        """
        return self.limiter.is_named and self.waiting_for == "rate limit" and self._pauses.may_pause(retry_after, now)

    def _on(self, event: Event) -> None:
        self._phase = phase_after(self._phase, event)

    def end_if_late(self) -> bool:
        """End the run where its deadline has come. Returns whether it has."""
        if self.deadline is None or self._clock.wall() < self.deadline.at:
            return False
        self.halt(self.deadline.reached)
        return True

    def reopen(self) -> None:
        """Let calls through again after a halt; the first goes alone."""
        self.termination = None
        self._on(Event.REOPENED)

    def halt(self, termination: Termination) -> None:
        """End the run for calls not in flight; the first reason stands."""
        if self.termination is None:
            self.termination = termination
            self.on_halt()
        self._alarm.stop()
        for place in self._line.disperse():
            place.turn.set_exception(Halted())


def _proves(policy: FailurePolicy) -> bool:
    """A failure of this kind shows that key, address and model are right."""
    undecided = policy.action is Action.WAIT or policy.every_row_halts_as is not None
    return not (undecided or policy.upstream or policy.slows or policy.halts_as)
