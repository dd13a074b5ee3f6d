"""The one door: alone first, probes, budget, breaker and halt, on a fake clock."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.gateway.admission.breaker import FAILURES_TO_OPEN, ROWS_TO_OPEN, Breaker
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.admission.halts import spent_up
from rowmill.tasks.gateway.admission.limiter import Limiter
from tests.clocks import FakeClock


def admission_of(clock: FakeClock, *, cap: int | None = None, most: int = 8, outage_s: float = 60) -> Gate:
    return Gate(
        limiter=Limiter(None, None, clock.now()),
        concurrency=Concurrency(most),
        budget=Budget(cap, 0, lambda _: None),
        clock=clock,
        outage_s=outage_s,
    )


class SlowClock(FakeClock):
    """A clock on which nobody wakes up."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


def ok(gate: Gate, permit, cost: int = 0) -> None:
    gate.release(permit, used_tokens=1, cost_usd=cost, failure=None)


def failed(gate: Gate, permit, kind: FailureKind, retry_after: float | None = None) -> None:
    gate.release(permit, used_tokens=None, cost_usd=0, failure=Failure(kind, "told", retry_after))


def test_first_call_goes_alone():
    """Until the first call has ended well nobody else is sent; then the fleet goes."""

    async def scenario() -> None:
        gate = admission_of(FakeClock())
        first = await gate.enter(0, 1, 0)
        others = [asyncio.create_task(gate.enter(row, 1, 0)) for row in range(1, 5)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in others)
        ok(gate, first)
        leases = await asyncio.wait_for(asyncio.gather(*others), 1)
        assert gate.in_flight == 4
        assert not any(permit.alone for permit in leases)

    asyncio.run(scenario())


async def test_others_join_a_first_call_once_another_process_has_shown_the_key():
    """A worker's first call takes as long as a model thinks: it is not waited for where the run's is answered."""
    gate = admission_of(FakeClock())
    first = await gate.enter(0, 1, 0)
    other = asyncio.create_task(gate.enter(1, 1, 0))
    await asyncio.sleep(0)
    assert not other.done()
    gate.verify()
    await asyncio.wait_for(other, 1)
    assert gate.in_flight == 2
    ok(gate, first)


@pytest.mark.parametrize(
    "kind", [FailureKind.UPSTREAM_ERROR, FailureKind.TIMEOUT, FailureKind.UNREACHABLE, FailureKind.RATE_LIMIT]
)
def test_first_call_that_fails_upstream_proves_nothing(kind):
    """A first call that never reached the model leaves the next one alone too."""

    async def scenario() -> None:
        gate = admission_of(FakeClock())
        failed(gate, await gate.enter(0, 1, 0), kind)
        assert (await gate.enter(1, 1, 0)).alone

    asyncio.run(scenario())


def test_unreadable_429_lets_one_probe_decide():
    """After a 429 without a body everyone waits, and one call goes alone before the fleet."""

    async def scenario() -> None:
        clock = FakeClock()
        gate = admission_of(clock)
        ok(gate, await gate.enter(0, 1, 0))
        failed(gate, await gate.enter(1, 1, 0), FailureKind.BARE_429)
        before = clock.now()
        probe = await gate.enter(2, 1, 0)
        assert probe.alone
        assert clock.now() >= before + 1
        ok(gate, probe)
        assert not (await gate.enter(3, 1, 0)).alone

    asyncio.run(scenario())


def test_retry_after_is_obeyed_by_everyone():
    """A rate limit's Retry-After holds every later call that long."""

    async def scenario() -> None:
        clock = FakeClock()
        gate = admission_of(clock)
        ok(gate, await gate.enter(0, 1, 0))
        failed(gate, await gate.enter(1, 1, 0), FailureKind.RATE_LIMIT, retry_after=17)
        before = clock.now()
        await gate.enter(2, 1, 0)
        assert clock.now() - before >= 17

    asyncio.run(scenario())


def test_a_row_waits_uncharged_only_while_others_are_answered_or_a_limit_is_near():
    """A row refused while others are answered waits uncharged as often as chance explains; one refused alone never."""

    async def scenario() -> None:
        clock = FakeClock()
        gate = admission_of(clock)
        ok(gate, await gate.enter(0, 1, 0))
        since = clock.now()
        clock.time += 1
        assert not gate.may_wait_uncharged(since)
        ok(gate, await gate.enter(1, 1, 0))
        assert gate.may_wait_uncharged(since)
        assert gate.may_wait_uncharged(since, times=5)
        assert not gate.may_wait_uncharged(since, times=20)
        clock.time += 1
        assert not gate.may_wait_uncharged(since + 1.5)
        gate.limiter.pause(clock.now() + 60)
        assert gate.may_wait_uncharged(clock.now())
        gate.limiter.pause(clock.now() + 600)
        clock.time += 300
        assert not gate.may_wait_uncharged(since + 1.5)

    asyncio.run(scenario())


def test_halt_stops_those_who_wait_and_keeps_the_first_reason():
    """A halt ends everyone who is not in flight; a later reason does not replace the first."""

    async def scenario() -> None:
        gate = admission_of(FakeClock(), most=1)
        permit = await gate.enter(0, 1, 0)
        waiting = asyncio.create_task(gate.enter(1, 1, 0))
        await asyncio.sleep(0)
        gate.halt(Termination(TerminationKind.SPEND_LIMIT, "c", "first", ""))
        gate.halt(Termination(TerminationKind.AUTH, "c", "second", ""))
        with pytest.raises(Halted):
            await waiting
        ok(gate, permit)
        with pytest.raises(Halted):
            await gate.enter(2, 1, 0)
        assert gate.termination is not None
        assert gate.termination.message == "first"

    asyncio.run(scenario())


@settings(max_examples=200)
@given(
    cap=st.integers(1, 1_000),
    calls=st.lists(st.tuples(st.integers(1, 200), st.integers(0, 100)), min_size=1, max_size=60),
    most=st.integers(1, 16),
)
def test_cap_is_never_passed_at_any_concurrency(cap, calls, most):
    """Whatever the calls cost within their worst case, and however many fly, the cap is never passed."""

    async def scenario() -> None:
        gate = admission_of(FakeClock(), cap=cap, most=most)
        highest = 0

        async def call(row: int, worst: int, percent: int) -> None:
            nonlocal highest
            try:
                permit = await gate.enter(row, 1, worst)
            except Halted:
                return
            for _ in range(row % 3):
                await asyncio.sleep(0)
            ok(gate, permit, worst * percent // 100)
            highest = max(highest, gate.budget.spent)

        await asyncio.gather(*(call(row, worst, percent) for row, (worst, percent) in enumerate(calls)))
        assert highest <= cap
        assert gate.budget.reserved == 0
        spent = sum(worst * percent // 100 for worst, percent in calls)
        assert gate.termination is not None or spent <= cap

    asyncio.run(scenario())


def test_a_bill_beyond_its_worst_case_stops_a_run_under_a_cap():
    """Where the gateway bills more than a worst case, the cap cannot be held: the run says so and stops. Without a cap
    it goes on.
    """

    async def scenario() -> None:
        gate = admission_of(FakeClock(), cap=1_000)
        ok(gate, await gate.enter(7, 1, 100), 150)
        assert gate.termination is not None
        assert gate.termination.kind is TerminationKind.BUDGET
        assert "row 7" in gate.termination.message
        assert "worst case" in gate.termination.message
        with pytest.raises(Halted):
            await gate.enter(8, 1, 100)
        gate = admission_of(FakeClock())
        ok(gate, await gate.enter(7, 1, 100), 150)
        assert gate.termination is None

    asyncio.run(scenario())


def test_budget_warns_once_at_75_and_90_percent():
    """The cap's 75 and 90 % are told once each."""
    said: list[str] = []
    budget = Budget(1_000, 0, said.append)
    for _ in range(100):
        budget.reserve(10)
        budget.settle(10, 10)
    assert [text.split()[0] for text in said] == ["75", "90"]


def test_a_cap_on_one_run_is_told_without_what_earlier_runs_spent():
    """Warnings and the end of the run name the key that binds, and amounts of this run alone."""
    dollar = 10**12
    said: list[str] = []
    budget = Budget(5 * dollar, 3 * dollar, said.append, of_run=True)
    assert not said
    budget.reserve(dollar)
    budget.settle(dollar, dollar * 8 // 5)
    assert said == ["75 % of max_run_cost_usd is spent: $1.60 of $2.00"]
    told = spent_up(budget, budget.spent, dollar)
    assert "max_run_cost_usd is $2.00, $1.60 is spent or may be in this run" in told.message
    assert told.next.startswith("Run the same command again")
    total = spent_up(Budget(5 * dollar, 0, said.append), 3 * dollar, dollar)
    assert "max_cost_usd is $5.00, $3.00 is spent" in total.message


def open_breaker(breaker: Breaker, now: float = 10.0) -> None:
    for n in range(FAILURES_TO_OPEN):
        breaker.failed(n % (ROWS_TO_OPEN + 1), now + n / 10, probe=False)


def test_breaker_opens_on_many_rows_and_charges_none_of_them():
    """Failures over many rows open it, and none of that outage's failures count against a row."""
    breaker = Breaker()
    breaker.failed(99, 5.0, probe=False)
    breaker.answered(1, 6.0)
    open_breaker(breaker)
    assert breaker.is_open
    assert breaker.charged([5.0, 10.0, 10.5]) == 1
    breaker.answered(3, 20.0)
    assert not breaker.is_open
    assert breaker.charged([5.0, 10.0, 19.0, 21.0]) == 2


def test_one_bad_row_never_opens_the_breaker():
    """A row whose content always fails, and rows that failed before while others were answered, open nothing."""
    breaker = Breaker()
    for n in range(50):
        breaker.failed(7, float(n), probe=False)
    assert not breaker.is_open
    poison = range(100, 112)
    for row in poison:
        breaker.failed(row, 100.0, probe=False)
        breaker.answered(1, 100.0)
    for row in poison:
        breaker.failed(row, 200.0, probe=False)
    assert not breaker.is_open


def test_outage_probes_one_call_at_a_time_and_ends_the_run():
    """While the breaker is open calls go one at a time, seldomer and seldomer, and the run ends at its limit."""

    async def scenario() -> None:
        clock = FakeClock()
        gate = admission_of(clock, outage_s=30)
        ok(gate, await gate.enter(0, 1, 0))
        open_breaker(gate.breaker, clock.now())
        opened, probes = clock.now(), []
        with pytest.raises(Halted):
            for row in range(100, 200):
                permit = await gate.enter(row, 1, 0)
                assert gate.in_flight == 1
                probes.append(clock.now() - opened)
                failed(gate, permit, FailureKind.UPSTREAM_ERROR)
        assert 3 <= len(probes) <= 8
        assert gate.termination is not None
        assert gate.termination.kind is TerminationKind.OUTAGE

    asyncio.run(scenario())


def end(window: Concurrency, count: int, now: float, *, failed: bool = False) -> None:
    for _ in range(count):
        window.ended(window.admit(now), failed=failed, now=now + 0.1)


def test_concurrency_narrows_once_an_episode_and_grows_again():
    """Failures of calls admitted before the window was narrowed do not count again; successes after it widen it."""
    window = Concurrency(100)
    assert window.limit == 50
    end(window, 50, 0.0)
    assert window.limit == 100
    before = [window.admit(1.0) for _ in range(40)]
    for call in before:
        window.ended(call, failed=True, now=2.0)
    narrowed = window.limit
    assert 50 <= narrowed < 100
    for second in range(20):
        end(window, 100, 3.0 + second)
    assert narrowed < window.limit <= 100
    for second in range(300):
        end(window, 10, 100.0 + second, failed=True)
    assert window.limit == 1


def test_failures_that_narrowing_does_not_change_leave_the_window_wide():
    """One call in 20 that fails at any width narrows the window for a trial, and no longer."""
    window, rng, narrow = Concurrency(100), random.Random(5), 0
    for second in range(400):
        for _ in range(100):
            window.ended(window.admit(float(second)), failed=rng.random() < 0.05, now=second + 0.5)
        narrow += window.limit < 90
    assert window.limit == 100
    assert narrow <= 40


def test_a_refused_row_rests_as_long_as_it_was_told_and_others_go_on():
    """One refusal among many answers holds its own row for its Retry-After, and nobody else."""

    async def scenario() -> None:
        clock = FakeClock()
        gate = admission_of(clock)
        for row in range(50):
            ok(gate, await gate.enter(row, 1, 0))
        failed(gate, await gate.enter(50, 1, 0), FailureKind.RATE_LIMIT, retry_after=17)
        refused_at = clock.now()
        others = await gate.enter(51, 1, 0)
        assert clock.now() == refused_at
        ok(gate, others)
        await gate.enter(50, 1, 0)
        assert clock.now() - refused_at >= 17

    asyncio.run(scenario())


def test_a_row_that_alone_is_told_to_wait_an_hour_holds_nobody_so_long():
    """While others are answered, an hour's Retry-After of one row is a minute, also once it is the last."""

    async def scenario() -> None:
        clock = FakeClock()
        gate = admission_of(clock)
        for row in range(50):
            ok(gate, await gate.enter(row, 1, 0))
        refused = await gate.enter(50, 1, 0)
        beside = await gate.enter(51, 1, 0)
        await clock.sleep(0.1)
        ok(gate, beside)
        for _ in range(3):
            failed(gate, refused, FailureKind.RATE_LIMIT, retry_after=3_600)
            since = clock.now()
            refused = await gate.enter(50, 1, 0)
            assert 59 < clock.now() - since < 61

    asyncio.run(scenario())


def test_a_halt_wakes_rows_that_rest():
    """A row that waits out an hour's Retry-After ends with the run, not an hour later."""

    async def scenario() -> None:
        gate = admission_of(SlowClock())
        for row in range(50):
            ok(gate, await gate.enter(row, 1, 0))
        failed(gate, await gate.enter(50, 1, 0), FailureKind.RATE_LIMIT, retry_after=3_600)
        resting = asyncio.create_task(gate.enter(50, 1, 0))
        await asyncio.sleep(0)
        assert not resting.done()
        gate.halt(Termination(TerminationKind.SPEND_LIMIT, "c", "first", ""))
        with pytest.raises(Halted):
            await resting

    asyncio.run(scenario())


def test_bare_refusals_among_answers_send_the_fleet_alone_once():
    """After one probe has shown that a 429 without a body was about pace, later ones among answers hold nobody."""

    async def scenario() -> None:
        gate = admission_of(FakeClock())
        for row in range(50):
            ok(gate, await gate.enter(row, 1, 0))
        failed(gate, await gate.enter(50, 1, 0), FailureKind.BARE_429)
        probe = await gate.enter(51, 1, 0)
        assert probe.alone
        ok(gate, probe)
        failed(gate, await gate.enter(52, 1, 0), FailureKind.BARE_429)
        assert not (await gate.enter(53, 1, 0)).alone

    asyncio.run(scenario())
