"""Local time: the edges at which clocks are changed, and every moment between."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.tasks.system.local_time import day_at, next_time_of_day, shown

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC", "Pacific/Apia"]


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("began", "at", "ends"),
    [
        ("2026-11-25T22:00+01:00", "06:00", "2026-11-26T06:00+01:00"),
        ("2026-11-26T05:59:59+01:00", "06:00", "2026-11-26T06:00+01:00"),
        # What has passed today comes tomorrow, and so does what is now.
        ("2026-11-26T06:00+01:00", "06:00", "2026-11-27T06:00+01:00"),
        ("2026-11-26T06:00:01+01:00", "06:00", "2026-11-27T06:00+01:00"),
        # The night of 29 March 2026 has no 02:30: the clock goes from 02:00 to 03:00.
        ("2026-03-28T23:00+01:00", "02:30", "2026-03-29T03:00+02:00"),
        ("2026-03-28T23:00+01:00", "02:00", "2026-03-29T03:00+02:00"),
        ("2026-03-28T23:00+01:00", "06:00", "2026-03-29T06:00+02:00"),
        # The night of 25 October 2026 has 02:30 twice: the first counts, and has passed when the clock is put back.
        ("2026-10-24T23:00+02:00", "02:30", "2026-10-25T02:30+02:00"),
        ("2026-10-25T02:10+01:00", "02:30", "2026-10-26T02:30+01:00"),
        ("2026-10-24T23:00+02:00", "06:00", "2026-10-25T06:00+01:00"),
    ],
)
def test_a_time_of_day_in_berlin(began, at, ends):
    """Also in the nights in which clocks are changed."""
    assert next_time_of_day(moment(began), time.fromisoformat(at), "Europe/Berlin") == moment(ends)


@given(st.integers(0, 4 * 10**9), st.integers(0, 1439), st.sampled_from(ZONES))
def test_it_is_the_first_moment_that_shows_the_time(began, minute, zone):
    """Whatever the zone and the year: later than the start, within 48 hours (a day may be left out), and never shown
    before on its day.
    """
    at = time(*divmod(minute, 60))
    found = next_time_of_day(began, at, zone)
    local = datetime.fromtimestamp(found, ZoneInfo(zone))
    assert began < found <= began + 49 * 3600
    assert local.time() >= at
    just_before = datetime.fromtimestamp(found - 1, ZoneInfo(zone))
    assert (just_before.date(), just_before.time()) < (local.date(), at)


@pytest.fixture
def in_new_york() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    clock.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    clock.tzset()


def test_without_a_zone_it_is_the_machines_own(in_new_york):
    """TZ counts, its changes of the clock too."""
    began = moment("2026-03-07T23:00-05:00")
    assert next_time_of_day(began, time(2, 30), None) == moment("2026-03-08T03:00-04:00")
    assert shown(began, None) == "2026-03-07 23:00:00 EST"


def test_a_day_is_the_zones():
    """The same moment is another day elsewhere."""
    at = datetime(2026, 11, 26, 3, tzinfo=UTC)
    assert day_at(at.timestamp(), "UTC") - day_at(at.timestamp(), "America/New_York") == timedelta(1)
