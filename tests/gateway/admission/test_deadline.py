"""Deadline: nothing is sent from it on, whoever waits and for what."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal

import pytest
from pydantic import ValidationError

from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.schemas.job import Job
from rowmill.schemas.termination import TerminationKind
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.deadline import Deadline, deadline_of
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.admission.limiter import Limiter
from tests.clocks import FakeClock

EVENING = datetime.fromisoformat("2026-11-25T22:00+01:00").timestamp()


def job(**keys) -> Job:
    return Job(model="gemini-3-pro", input="rows.jsonl", output="out", prompt="x", **keys)


def gate(clock: FakeClock, deadline: Deadline | None) -> Gate:
    door = Gate(
        limiter=Limiter(60.0, None, clock.now()), concurrency=Concurrency(4), outage_s=60, clock=clock,
        budget=Budget(None, 0, lambda told: None),
    )  # fmt: skip
    door.deadline = deadline
    return door


def test_the_earlier_of_both_counts_and_a_suspended_run_keeps_its_own():
    """stop_at and max_hours together; what held before the process was given back holds on."""
    at = deadline_of(job(stop_at="06:00", time_zone="Europe/Berlin"), EVENING)
    assert at is not None
    assert at.at == EVENING + 8 * 3600
    assert at.reached.kind is TerminationKind.DEADLINE
    assert "stop_at 06:00: no call is sent from 2026-11-26 06:00:00 CET on" in at.reached.message
    both = deadline_of(job(stop_at="06:00", time_zone="Europe/Berlin", max_hours=2.5), EVENING)
    assert both is not None
    assert both.at == EVENING + 2.5 * 3600
    resumed = deadline_of(job(stop_at="06:00", time_zone="Europe/Berlin"), EVENING + 9 * 3600, at.at)
    assert resumed is not None
    assert resumed.at == at.at
    assert deadline_of(job(), EVENING) is None


async def test_no_call_goes_from_the_deadline_on():
    """By the wall clock, which may be set: a call that waits for the limiter then is not sent, and neither is a retry."""
    clock = FakeClock(EVENING)
    door = gate(clock, deadline_of(job(max_hours=1), EVENING))
    permit = await door.enter(0, 1, 1)
    waiting = asyncio.create_task(door.enter(1, 1, 1))
    await asyncio.sleep(0)
    clock._wall += 3_600
    door.release(permit, used_tokens=1, cost_usd=1, failure=Failure(FailureKind.INTERNAL_ERROR, "broke"))
    with pytest.raises(Halted):
        await waiting
    with pytest.raises(Halted):
        await door.enter(0, 1, 1)
    assert door.termination is not None
    assert door.termination.kind is TerminationKind.DEADLINE


@pytest.mark.parametrize("told", ["24:00", "6", "six", "25:00", "06:60", 6, 21600])
def test_what_is_no_time_of_day_is_refused(told):
    """With the form that is wanted."""
    with pytest.raises(ValidationError, match='"0[06]:00"'):
        job(stop_at=told)


def test_times_are_read_as_people_and_toml_write_them():
    """6:00 is 06:00, seconds may be told, TOML's times are times."""
    assert job(stop_at="6:00").stop_at == "06:00"
    assert job(stop_at="06:00:30").stop_at == "06:00:30"
    assert job(stop_at=datetime(2026, 1, 1, 6).time()).stop_at == "06:00"
    assert job(max_hours=Decimal("0.5")).max_hours == 0.5


@pytest.mark.parametrize(
    ("told", "hint"),
    [
        ("Mars/Olympus", "Europe/Berlin, or UTC"),
        ("europe/berlin", "did you mean Europe/Berlin"),
        ("Berlin", "did you mean Europe/Berlin"),
        ("../../etc/passwd", "Europe/Berlin, or UTC"),
        ("", "Europe/Berlin, or UTC"),
        ("Europe", "no time zone"),
    ],
)
def test_a_time_zone_that_is_none_is_refused(told, hint):
    """Naming one that is close."""
    with pytest.raises(ValidationError, match=hint):
        job(time_zone=told)
