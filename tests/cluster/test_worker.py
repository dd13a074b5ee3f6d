"""A worker keeps to its rows, its lease and its quota."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.tasks.cluster.leased_rows import within
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.run.open_shard import Remaining
from tests.clocks import FakeClock


@given(st.lists(st.integers(0, 300), unique=True, max_size=40))
def test_ranges_hold_the_rows_they_were_made_of(rows):
    """Rows told as ranges are the same rows."""
    left = Remaining()
    for row in sorted(rows):
        left.ask(row)
    holds = within(left.ranges)
    assert [row for row in range(301) if holds(row)] == sorted(rows)


def gate(clock: FakeClock, cap: int | None = None) -> Gate:
    return Gate(
        limiter=Limiter(None, None, 0.0), concurrency=Concurrency(4), outage_s=60, clock=clock,
        budget=Budget(cap, 0, lambda told: None, is_quota=cap is not None),
    )  # fmt: skip


async def test_no_call_goes_after_the_lease_has_ended():
    """By its own clock: a process that slept through its lease sends nothing when it wakes."""
    clock = FakeClock()
    door = gate(clock)
    door.valid_until = clock.now() + 6.0
    lease = await door.enter(0, 1, 1)
    door.release(lease, used_tokens=1, cost_usd=1, failure=None)
    await clock.sleep(6.0)
    with pytest.raises(Halted):
        await door.enter(1, 1, 1)
    assert door.termination is not None
    assert door.termination.code == "lease"


@pytest.mark.parametrize("short_of", ["money", "calls"])
async def test_a_call_that_waits_for_a_share_ends_with_the_lease(short_of):
    """A coordinator that was killed gives no more money and no more calls: whoever waits for them ends with the lease."""
    clock = FakeClock()
    door = gate(clock, cap=10)
    door.valid_until = clock.now() + 6.0
    door.take_quota(4, 0) if short_of == "money" else door.take_quota(0, 10)
    with pytest.raises(Halted):
        await asyncio.wait_for(door.enter(0, 1, 5), 1)
    assert door.termination is not None
    assert door.termination.code == "lease"
    assert clock.now() == pytest.approx(1_006.0, abs=0.01)


async def test_a_call_that_its_portion_does_not_cover_waits_for_more():
    """A worker at the end of its part of the cap says what it needs, and goes on when it is given that."""
    clock = FakeClock()
    door = gate(clock, cap=0)
    waiting = asyncio.create_task(door.enter(0, 1, 500))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert door.budget.short == 500
    assert door.termination is None
    door.take_quota(4, 499)
    assert door.budget.short == 500
    door.take_quota(4, 500)
    await waiting
    assert door.budget.short == 0


def test_a_lease_begins_with_what_the_last_one_found_of_the_gateway():
    """As wide as its quota lets it, or where failures left the window, which then grows a little each round trip."""
    wide, narrow = Concurrency(64), Concurrency(64)
    wide.begin_at(None)
    assert (wide.limit, wide.narrowed) == (64, None)
    wide.share(32)
    assert wide.limit == 32
    narrow.begin_at(20)
    assert (narrow.limit, narrow.narrowed) == (20, 20)
    for number in range(20):
        narrow.ended(narrow.admit(float(number)), failed=False, now=float(number))
    assert narrow.limit in (20, 21)


def test_a_window_of_no_calls_opens_again():
    """A worker whose part of the calls in flight was none begins when it gets one."""
    window = Concurrency(8)
    window.share(0)
    assert window.limit == 0
    window.share(6)
    assert 1 <= window.limit <= 6
    window.share(2)
    assert window.limit <= 2
