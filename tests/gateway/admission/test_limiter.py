"""The limiter never exceeds its rate, and does not fall behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.tasks.gateway.admission.bucket import Bucket
from rowmill.tasks.gateway.admission.limiter import BURST_S, TOKENS_BURST_S, Limiter


def send_all(limiter: Limiter, sizes: list[float], start: float) -> list[float]:
    """Send requests of these tokens as fast as the limiter lets them; their times."""
    now, times = start, []
    for tokens in sizes:
        while (wait := limiter.wait(tokens, now)) > 0:
            now += wait
        limiter.take(tokens, now)
        times.append(now)
    return times


@given(
    rpm=st.floats(1, 100_000),
    sizes=st.lists(st.floats(1, 5_000), min_size=1, max_size=200),
    tpm=st.floats(1_000, 10_000_000),
)
def test_no_span_of_time_holds_more_than_its_rate_and_one_burst(rpm, sizes, tpm):
    """In any span at most rate x span + one bucket goes, for requests and, one oversize apart, for tokens."""
    times = send_all(Limiter(rpm, tpm, 0.0), sizes, 0.0)
    for first in range(0, len(times), 7):
        for last in range(first, len(times), 5):
            span = times[last] - times[first]
            count = last - first + 1
            assert count <= span * rpm / 60 + 1 + rpm / 60 * BURST_S + 1e-6 * count
            tokens = sum(sizes[first : last + 1])
            assert tokens <= span * tpm / 60 + 1 + tpm / 60 * TOKENS_BURST_S + max(sizes) + 1e-6 * tokens


@pytest.mark.parametrize("rpm", [6, 60, 600, 6_000, 60_000])
def test_a_busy_limiter_uses_its_whole_rate(rpm):
    """Sent without a pause, requests use at least 99.5 % of their quota after the first minute."""
    count = max(20, rpm * 2)
    times = send_all(Limiter(rpm, None, 0.0), [1.0] * count, 0.0)
    assert (times[-1] - times[0]) * rpm / 60 <= (count - 1) * 1.005


def test_settling_gives_back_what_was_not_used():
    """A reservation settled below its size lets the next request go earlier, above its size later."""
    for used, expected in ((0, 0.0), (100, 60.0 * 100 / 6_000), (200, 60.0 * 200 / 6_000)):
        limiter = Limiter(None, 6_000, 0.0)
        limiter.settle(limiter.take(20, 0.0), used, 0.0)
        assert limiter.wait(20, 0.0) == pytest.approx(expected if used else 0.0, abs=0.11)


def test_oversize_request_waits_for_a_full_bucket_and_leaves_a_debt():
    """A request larger than the bucket goes once, and those after it wait until the debt is paid."""
    bucket = Bucket(10.0, 0.0, 0.0)
    bucket.take(1, 0.0)
    assert bucket.wait(50, 0.0) == pytest.approx(0.1, rel=0.01)
    bucket.take(50, 0.11)
    assert bucket.wait(1, 0.11) == pytest.approx(5.0, rel=0.01)


def test_pause_holds_everyone_and_refund_undoes():
    """A pause lasts until its moment; a refunded request leaves the limiter as it was."""
    limiter = Limiter(60, 6_000, 0.0)
    limiter.pause(5.0)
    limiter.pause(3.0)
    assert limiter.wait(1, 0.0) == 5.0
    assert limiter.paused(4.9)
    assert not limiter.paused(5.0)
    limiter.refund(limiter.take(10, 5.0), 5.0)
    assert limiter.wait(10, 5.0) == 0.0
