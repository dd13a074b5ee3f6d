"""Quotas and chance: sent through the gate in virtual time, against a gateway that counts, fails at random, or both."""

from __future__ import annotations

import asyncio
import math
import random
from functools import lru_cache

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks.virtual import (
    BucketLimit,
    Quota,
    Sent,
    Weather,
    WindowLimit,
    cut_and_restored,
    run_virtually,
    send,
    send_rows,
)
from rowmill.sandbox.settings import Settings
from rowmill.schemas.attempt import FailureKind
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.gateway.admission.pace import Pace
from rowmill.tasks.gateway.admission.sliding_window import SlidingWindow

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


@pytest.mark.parametrize(("window", "least", "refused_most"), [("bucket", 0.995, 0), ("sliding", 0.975, 15)])
def test_tokens_use_their_quota_with_answers_spread_widely(window, least, refused_most):
    """Lognormal answers, known only when they come, use nearly all of a TPM; a sliding minute refuses three in 1,000."""
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
    """Without an RPM in the job, what the gateway lets in is found from its refusals, at one 429 in 38 calls."""
    quota = Quota(Settings(rpm=RPM, limit_window="bucket", bucket_seconds=10.0))
    sent(quota, Limiter(None, None, 0.0), 8_000)
    assert quota.share(RPM) >= 0.97
    assert len(quota.refused) <= 210


def rows_sent(**run) -> Sent:
    return run_virtually(send_rows(**run))


def weather(kind: FailureKind, share: float, seed: int, retry_after: float | None = None) -> Weather:
    return Weather({kind: share}, retry_after, rng=random.Random(seed))


calm_run = lru_cache(rows_sent)


LIMITS = {
    "window of 1 s": lambda rate: WindowLimit(rate, 1),
    "window of 10 s": lambda rate: WindowLimit(rate * 10, 10),
    "window of 60 s": lambda rate: WindowLimit(rate * 60, 60),
    "bucket of 1 s": lambda rate: BucketLimit(rate, 1),
    "bucket of 10 s": lambda rate: BucketLimit(rate * 10, 10),
}


@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize(("latency_s", "rows"), [(0.005, 4_000), (0.04, 2_000), (1.0, 700)])
@pytest.mark.parametrize("share", [0.005, 0.04, 0.1])
def test_refusals_at_random_cost_no_more_than_themselves(share, latency_s, rows, retry_after):
    """With a share r of calls refused at any pace a run takes at most 1/(1-2r) of its time without them, and 5 s."""
    calm = calm_run(rows=rows, concurrency=32, latency_s=latency_s)
    seed = int(share * 1_000) + rows
    stormy = rows_sent(
        rows=rows, concurrency=32, latency_s=latency_s, seed=seed,
        weather=weather(FailureKind.RATE_LIMIT, share, seed, retry_after),
    )  # fmt: skip
    assert len(stormy.answered) == rows
    assert stormy.seconds <= calm.seconds / (1 - 2 * share) + 5


@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(
    kind=st.sampled_from(
        [
            FailureKind.RATE_LIMIT,
            FailureKind.INTERNAL_ERROR,
            FailureKind.UPSTREAM_ERROR,
            FailureKind.TIMEOUT,
            FailureKind.DISCONNECT,
        ]
    ),
    share=st.sampled_from([0.001, 0.01, 0.05]),
    seed=st.integers(0, 10_000),
)
def test_rare_failures_of_any_kind_leave_the_speed_as_it_is(kind, share, seed):
    """At 256 in flight a failure of any kind, as rare as one in 1,000 or as often as one in 20, costs its own calls."""
    calm = calm_run(rows=5_000, concurrency=256, latency_s=0.05)
    stormy = rows_sent(rows=5_000, concurrency=256, latency_s=0.05, weather=weather(kind, share, seed), seed=seed)
    # Nine in ten rows are there in time; the last ones wait out the backoff of their own retries.
    assert sorted(stormy.answered)[4_500] <= sorted(calm.answered)[4_500] / (1 - 2 * share) + 2.5


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize(("latency_s", "concurrency"), [(0.04, 32), (1.0, 256)])
def test_a_limit_that_nobody_told_is_kept_and_used(name, latency_s, concurrency):
    """However the gateway counts, from the second minute on at least 90 % of its limit is used and 5 % refused at most."""
    sent = rows_sent(
        rows=10**9, concurrency=concurrency, latency_s=latency_s, limit=LIMITS[name](20.0), until=240,
        tells_retry_after=concurrency == 32,
    )  # fmt: skip
    assert sent.used(60, 240, 20.0) >= 0.9
    assert sent.refused(60, 240) <= 0.05


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_and_chance_at_once_are_told_apart(name):
    """With one call in 20 refused at random beside an unknown limit, most of the limit is used and not overrun."""
    sent = rows_sent(
        rows=10**9, concurrency=32, latency_s=0.04, limit=LIMITS[name](20.0), until=300,
        weather=weather(FailureKind.RATE_LIMIT, 0.05, 3),
    )  # fmt: skip
    # What was refused at random had been counted.
    assert sent.used(60, 300, 20.0 * 0.95) >= 0.85
    assert sent.refused(60, 300) <= 0.1


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("rate", [20, 50])
def test_a_limit_told_per_minute_may_be_counted_over_any_window(name, rate):
    """A limit told as rpm and counted over 1, 10 or 60 s is used to 98 % without one refusal."""
    sent = rows_sent(
        rows=10**9, concurrency=64, latency_s=0.5, limiter=Limiter(rate * 60, None, 0.0), limit=LIMITS[name](rate),
        until=90,
    )  # fmt: skip
    assert not sent.limited
    assert sent.used(20, 90, rate) >= 0.98


def test_a_gateway_that_bears_few_calls_at_once_is_not_overrun():
    """Where calls fail because too many are in flight, fewer are sent: one in eight fails at most, and it is used."""
    sent = rows_sent(rows=20_000, concurrency=256, latency_s=0.5, bears=50, until=120)
    failed = sum(sent.failed.values())
    assert failed <= 0.125 * (failed + len(sent.answered))
    assert sum(at >= 60 for at in sent.answered) >= 0.6 * 60 * 50 / 0.5


def test_two_runs_that_share_a_limit_do_not_overrun_it():
    """Two halves of 3,000 a minute, counted over 10 s, use 97 % of it together without a refusal."""
    limit = WindowLimit(500, 10)

    async def both() -> list[Sent]:
        halves = [Limiter(3_000, None, 0.0) for _ in range(2)]
        for half in halves:
            half.share(1_500, 0, 0.0)
        return await asyncio.gather(
            *(
                send_rows(rows=10**9, concurrency=64, latency_s=0.5, limiter=half, limit=limit, until=90, seed=seed)
                for seed, half in enumerate(halves)
            )
        )

    runs = run_virtually(both())
    assert not any(run.limited for run in runs)
    assert sum(run.used(20, 90, 50) for run in runs) >= 0.97


@given(
    most=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 60), st.floats(0, 2)), max_size=60),
)
def test_a_sliding_window_never_holds_more_than_its_most(most, steps):
    """In any 60 s at most `most` is taken, unless one taking alone is larger; corrections count where they were taken."""
    window, now = SlidingWindow(most, 60.0), 0.0
    taken: list[tuple[float, float]] = []
    for pause, amount, used in steps:
        now += pause
        if (wait := window.wait(amount, now)) > 0:
            now += wait
            assert window.wait(amount, now) <= 1e-6
        window.correct(window.take(amount, now), amount * min(used, 1.0), now)
        taken.append((now, amount * min(used, 1.0)))
        inside = [size for at, size in taken[:-1] if at > now - 60.0 + 1e-6]
        assert not inside or sum(inside) + amount <= most + 1e-6


@given(refusals=st.lists(st.tuples(st.floats(0.01, 40), st.integers(0, 20)), min_size=1, max_size=60))
@settings(max_examples=50)
def test_a_pace_is_always_above_nothing_and_comes_back(refusals):
    """However a gateway refuses, the pace learned stays above nothing; once it refuses no more all limits are passed."""
    pace, now = Pace(0.0), 0.0
    for gap, answered in refusals:
        now += gap
        calls = [pace.admit(now) for _ in range(answered + 1)]
        for call in calls:
            pace.ended(call, refused=call is calls[-1], retry_after=0.0, now=now + 0.01, allowed=math.inf)
        assert pace.rate(now) > 0
    for _ in range(6_000):
        now += 0.1
        pace.ended(pace.admit(now), refused=False, retry_after=0.0, now=now + 0.01, allowed=math.inf)
    assert pace.rate(now) > 20
