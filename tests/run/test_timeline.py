"""Course: samples of a run for its report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rowmill.tasks.run.timeline import SAMPLES_MOST, Timeline


@given(st.floats(0, 500_000))
def test_a_course_covers_a_run_of_any_length_in_few_samples(seconds):
    """However long the run, its samples are few and lie where the page draws them, from its beginning to its end."""
    course, now = Timeline(), 0.0
    assert course.samples(None) is None
    while now <= seconds:
        course.note(round(now), 1, now)
        now += course.step_s
    told = course.samples(60.0)
    assert told is not None
    assert len(told.in_flight) == len(told.limit) == len(told.calls_a_minute) <= SAMPLES_MOST
    step = told.step_s
    assert all(abs(drawn * step - taken) <= 2 * step + 1 for drawn, taken in enumerate(told.calls_a_minute))
    assert told.calls_a_minute[-1] > seconds - 2 * step
