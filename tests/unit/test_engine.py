"""Leases, orders and the split of limits: the laws behind workers that hear of things at different times."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.manifest import Termination, TerminationKind
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.row import Cursor, Shard
from rowmill.tasks.cluster.limit_split import BudgetShare, even, even_slots, money
from rowmill.tasks.cluster.mailbox import Heartbeat, LeaseGrants, Mailbox, Quota
from rowmill.tasks.cluster.worker import within
from rowmill.tasks.cluster.worker_segments import WorkerLayout, adopt, adopt_all, begin, left_away
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.journal.entries import VERSION, Head, encode_line
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.output.folder import Layout, segments_in
from rowmill.tasks.run.shard_runner import Remaining
from tests.unit.clocks import FakeClock

SHARD = Shard(3, 100, 50, Cursor("rows.jsonl", 0, 0), "d")


def step(draw, given_out, acked, share):
    """One beat: some workers are heard, one may come or go, and all is divided anew."""
    for name in given_out:
        if draw(st.booleans()):
            acked[name] = given_out[name]
    if len(given_out) < 4 and draw(st.booleans()):
        name = f"w{draw(st.integers(0, 10**6))}"
        given_out.setdefault(name, type(share)(0))
        acked.setdefault(name, type(share)(0))
    elif given_out and draw(st.booleans()):
        gone = draw(st.sampled_from(sorted(given_out)))
        del given_out[gone], acked[gone]
    return {name: max(given_out[name], acked[name]) for name in given_out}


@given(st.data(), st.integers(1, 500), st.integers(0, 6))
def test_slots_given_and_still_held_are_never_more_than_there_are(data, whole, expected):
    """Whoever is heard late, comes or goes: what all may use at any moment is within the whole, and settles evenly."""
    given_out, acked = {}, {}
    for _ in range(12):
        held = step(data.draw, given_out, acked, 0)
        given_out.update(even_slots(whole, expected, held))
        assert sum(max(given_out[name], acked[name]) for name in given_out) <= whole
    for _ in range(2):
        acked = dict(given_out)
        given_out = even_slots(whole, 0, acked)
    if given_out:
        assert sum(given_out.values()) == whole
        assert max(given_out.values()) - min(given_out.values()) <= 1


@given(st.data(), st.floats(1, 1e6), st.integers(0, 6))
def test_rates_are_divided_by_the_same_law(data, whole, expected):
    """Requests and tokens a minute, which can be divided: never more than the whole, even once all have heard."""
    given_out, acked = {}, {}
    for _ in range(12):
        held = step(data.draw, given_out, acked, 0.0)
        given_out.update(even(whole, expected, held))
        assert sum(max(given_out[name], acked[name]) for name in given_out) <= whole * (1 + 1e-9)
    for _ in range(2):
        acked = dict(given_out)
        given_out = even(whole, 0, acked)
    for share in given_out.values():
        assert share == pytest.approx(whole / len(given_out))


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 1_000))
def test_money_of_all_workers_stays_within_the_cap(seed, cap, workers, call):
    """Workers spend as much as they may, hear late, and the sum never passes the cap; in the end it is used up."""
    rng = random.Random(seed)
    spent = dict.fromkeys([f"w{n}" for n in range(workers)], 0)
    goes_by = dict.fromkeys(spent, 0)
    short = dict.fromkeys(spent, 0)
    ordered = dict.fromkeys(spent, 0)
    for beat in range(200):
        held = {name: max(ordered[name], goes_by[name]) for name in spent}
        ordered = money(cap, workers, {name: BudgetShare(held[name], spent[name], short[name]) for name in spent})
        for name in spent:
            if beat > 150 or rng.random() < 0.5:
                goes_by[name] = ordered[name]
            calls = rng.randint(0, 40) if beat < 20 else 10**6
            spent[name] += call * min(calls, max(0, goes_by[name] - spent[name]) // call)
            goes_by[name] = max(goes_by[name], spent[name])
            short[name] = call if goes_by[name] - spent[name] < call else 0
        assert sum(spent.values()) <= cap
    assert cap - sum(spent.values()) < call


@given(st.lists(st.integers(0, 300), unique=True, max_size=40))
def test_ranges_hold_the_rows_they_were_made_of(rows):
    """Rows told as ranges are the same rows."""
    left = Remaining()
    for row in sorted(rows):
        left.ask(row)
    holds = within(left.ranges)
    assert [row for row in range(301) if holds(row)] == sorted(rows)


def test_a_notice_comes_through_whole_or_not_at_all(tmp_path):
    """What is posted is read; what was cut, is being written, or is not there is no news."""
    board = Mailbox(tmp_path)
    board.open()
    halt = Termination(TerminationKind.SPEND_LIMIT, "spend_limit_exceeded", "stop", "wait")
    orders = LeaseGrants("run", 3, {"a": Quota(1.5, 0.0, 4, 10**13)}, True, halt, True)
    board.post("orders", LeaseGrants("run", 1, {name: Quota() for name in "abcdefgh"}))
    board.post("orders", orders)
    assert board.read("orders", LeaseGrants) == orders
    assert board.read("nobody", Heartbeat) is None
    path = tmp_path / ".board" / "orders"
    whole = path.read_bytes()
    for cut in (0, 5, 18, 40, len(whole) // 3):
        path.write_bytes(whole[:cut])
        assert board.read("orders", LeaseGrants) is None
    path.write_bytes(whole.replace(b"stop", b"step"))
    assert board.read("orders", LeaseGrants) is None
    path.write_bytes(whole)
    board.claim("token")
    assert board.is_open
    board.close()
    assert not board.is_open
    assert board.claim("token")


def test_a_lease_is_taken_up_once(tmp_path):
    """A second process that was given the same work finds it taken."""
    board = Mailbox(tmp_path)
    board.open()
    assert board.claim("a")
    assert not board.claim("a")
    assert board.claim("b")


def outcome(row: int) -> Outcome:
    return Outcome(f"r{row}", row, Status.OK)


def segment(path: Path, *rows: int) -> None:
    path.write_bytes(b"".join(map(encode_line, [Head(VERSION, "j", SHARD), *map(outcome, rows)])))


@pytest.mark.parametrize("closed", [True, False])
def test_what_a_worker_wrote_becomes_the_shards_own(tmp_path, closed):
    """It begins with what was settled before, and is taken over; what a worker writes later is nowhere."""
    layout, own = WorkerLayout(tmp_path, "t_1"), Layout(tmp_path)
    layout.journal.mkdir()
    segment(own.segment_path(3), 101)
    begin(layout, SHARD)
    away = layout.segment_path(3)
    with open(away, "ab") as late:
        late.write(encode_line(outcome(102)))
        late.flush()
        os.write(late.fileno(), b"" if closed else b"torn")
        assert segments_in(layout.journal) == {3: away}
        adopt(away, closed=closed)
        assert left_away(layout.journal) == []
        if not closed:
            late.write(encode_line(outcome(103)))
            late.flush()
    found = replay(own.segment_path(3))
    assert found is not None
    assert sorted(found.settled) == [101, 102]


def test_of_two_that_were_left_the_fuller_is_taken(tmp_path):
    """Should two workers have left a segment of one shard, the one that holds more is the shard's own."""
    one, two, own = WorkerLayout(tmp_path, "a_1"), WorkerLayout(tmp_path, "b_1"), Layout(tmp_path)
    one.journal.mkdir()
    segment(one.segment_path(3), 101, 102, 103)
    segment(two.segment_path(3), 101)
    adopt_all(one.journal)
    found = replay(own.segment_path(3))
    assert found is not None
    assert sorted(found.settled) == [101, 102, 103]


def gate(clock: FakeClock, cap: int | None = None) -> Gate:
    return Gate(
        limiter=Limiter(None, None, 0.0), concurrency=Concurrency(4), outage_s=60, clock=clock,
        budget=Budget(cap, 0, lambda told: None, is_quota=cap is not None),
    )  # fmt: skip


def test_no_call_goes_after_the_lease_has_ended():
    """By its own clock: a process that slept through its lease sends nothing when it wakes."""

    async def scenario(clock):
        door = gate(clock)
        door.valid_until = clock.now() + 6.0
        lease = await door.enter(0, 1, 1)
        door.release(lease, used_tokens=1, cost_usd=1, failure=None)
        await clock.sleep(6.0)
        with pytest.raises(Halted):
            await door.enter(1, 1, 1)
        assert door.termination is not None
        assert door.termination.code == "lease"

    asyncio.run(scenario(FakeClock()))


def test_a_call_that_its_portion_does_not_cover_waits_for_more():
    """A worker at the end of its part of the cap says what it needs, and goes on when it is given that."""

    async def scenario(clock):
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

    asyncio.run(scenario(FakeClock()))


def test_a_window_of_no_calls_opens_again():
    """A worker whose part of the calls in flight was none begins when it gets one."""
    window = Concurrency(8)
    window.share(0)
    assert window.limit == 0
    window.share(6)
    assert 1 <= window.limit <= 6
    window.share(2)
    assert window.limit <= 2
