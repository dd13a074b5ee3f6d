"""Quotas: sent through the one door in virtual time, against a gateway that only counts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.virtual import Quota, cut_and_restored, run_virtually, send
from rowmill.sandbox.settings import Settings
from rowmill.tasks.gateway.admission.limiter import ARRIVAL_S, WINDOW_S, Limiter, SlidingMinute
from rowmill.tasks.gateway.admission.pace import Pace

RPM = 1_200
MEAN_TOKENS = math.exp(7 + 0.8**2 / 2)


def sent(quota: Quota, limiter: Limiter, calls: int, **more) -> float:
    return run_virtually(send(quota, limiter, calls=calls, **{"concurrency": 64, "latency_s": 1.5, **more}))


@pytest.mark.parametrize(
    ("window", "bucket_seconds"), [("bucket", 1.0), ("bucket", 0.25), ("bucket", 60.0), ("sliding", 1.0)]
)
def test_requests_use_their_quota_and_provoke_no_429(window, bucket_seconds):
    """At least 99.5 % of an RPM is used, whether the gateway counts by a bucket or a sliding minute, without one 429."""
    quota = Quota(Settings(rpm=RPM, limit_window=window, bucket_seconds=bucket_seconds))
    sent(quota, Limiter(RPM, None, 0.0), 4_000)
    assert not quota.refused
    assert quota.share(RPM) >= 0.995


def test_the_head_start_of_a_sliding_minute_is_used():
    """3,000 calls at 1,200 a minute take two minutes, not two and a half, without one 429."""
    quota = Quota(Settings(rpm=RPM))
    took = sent(quota, Limiter(RPM, None, 0.0, sliding=True), 3_000, concurrency=256, latency_s=0.1)
    assert not quota.refused
    assert took <= 125


@pytest.mark.parametrize(("window", "least", "refused_most"), [("bucket", 0.995, 0), ("sliding", 0.97, 10)])
def test_tokens_use_their_quota_with_answers_spread_widely(window, least, refused_most):
    """Lognormal answers, known only when they come, use nearly all of a TPM; a sliding minute refuses one in 500."""
    tpm = RPM * MEAN_TOKENS
    quota = Quota(Settings(tpm=tpm, limit_window=window, bucket_seconds=10.0))
    sent(
        quota, Limiter(None, tpm, 0.0), 5_000, expected=MEAN_TOKENS, sizes=lambda rng: rng.lognormvariate(7.0, 0.8)
    )  # fmt: skip
    assert len(quota.refused) <= refused_most
    assert quota.share(tpm, tokens=True) >= least


@pytest.mark.parametrize("latency_s", [0.2, 1.5, 5.0])
@pytest.mark.parametrize("retry_after", [lambda wait: float(math.ceil(wait)), lambda wait: None])
def test_a_quota_that_is_cut_and_restored_is_used_throughout(latency_s, retry_after):
    """When the gateway cuts the quota to a third and restores it, at least 95 % of each phase is used."""
    quota = Quota(Settings(rpm=RPM, limit_window="bucket"), retry_after)
    used = [share for share, _ in cut_and_restored(quota, RPM, latency_s)]
    assert min(used) >= 0.95, used
    assert len(quota.refused) <= 0.05 * RPM / 3 * 5


def test_a_gateway_whose_limit_nobody_told_is_learned():
    """Without an RPM in the job, what the gateway lets in is found from its refusals, at one 429 in 40 calls."""
    quota = Quota(Settings(rpm=RPM, limit_window="bucket", bucket_seconds=10.0))
    sent(quota, Limiter(None, None, 0.0), 8_000)
    assert quota.share(RPM) >= 0.97
    assert len(quota.refused) <= 200


@given(
    most=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 60), st.floats(0, 2)), max_size=60),
)
def test_a_sliding_minute_never_holds_more_than_its_most(most, steps):
    """In any 60 s at most `most` is taken, unless one taking alone is larger; corrections count where they were taken."""
    minute, now = SlidingMinute(most, 0.0), 0.0
    taken: list[tuple[float, float]] = []
    for pause, amount, used in steps:
        now += pause
        if (wait := minute.wait(amount, now)) > 0:
            now += wait
            assert minute.wait(amount, now) <= 1e-6
        minute.correct(minute.take(amount, now), amount * min(used, 1.0), now)
        taken.append((now, amount * min(used, 1.0)))
        inside = [size for at, size in taken[:-1] if at > now - WINDOW_S]
        assert not inside or sum(inside) + amount <= most + 1e-6
    assert ARRIVAL_S > 0


@given(refusals=st.lists(st.floats(0.01, 40), min_size=1, max_size=30))
@settings(max_examples=50)
def test_a_pace_is_always_above_nothing_and_comes_back(refusals):
    """However a gateway refuses, the pace learned stays above nothing, and passes any limit within ten minutes."""
    pace, now = Pace(0.0), 0.0
    for gap in refusals:
        now += gap
        pace.let_in(1.0, now)
        pace.refused(now, now, math.inf)
        assert pace.rate(now) > 0
    assert pace.rate(now + 600) > 20
