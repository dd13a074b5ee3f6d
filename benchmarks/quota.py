"""Quotas in virtual time: how much of a limit is used, and how often it is overstepped."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Literal

from benchmarks.virtual import (
    BucketLimit,
    Quota,
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

Window = Literal["bucket", "sliding"]
RPM = 1_200.0
MEAN_TOKENS = math.exp(7 + 0.8**2 / 2)


def answer_tokens(rng: random.Random) -> float:
    """Lognormal: half of the answers below 1,100 tokens, one in a hundred above 7,000."""
    return rng.lognormvariate(7.0, 0.8)


def steady(name: str, settings: Settings, limiter: Limiter, *, tokens: bool = False) -> None:
    quota = Quota(settings)
    sizes = {"sizes": answer_tokens, "expected": MEAN_TOKENS} if tokens else {}
    run_virtually(send(quota, limiter, calls=6_000, concurrency=64, latency_s=1.5, **sizes))  # type: ignore[arg-type]
    most = settings.tpm if tokens else settings.rpm
    assert most is not None
    used = quota.share(most, tokens=tokens)
    print(f"{name}: {used:.2%} used, {len(quota.refused)} 429s in 6,000 calls")


def disturbed(name: str, window: Window, latency_s: float, *, retry_after: Callable[[float], float | None]) -> None:
    phases = cut_and_restored(Quota(Settings(rpm=RPM, limit_window=window), retry_after), RPM, latency_s)
    told = ", ".join(f"{share:.1%} ({count} 429s)" for share, count in phases)
    print(f"cut to a third and restored, {name}, {latency_s} s: {told}")


def at_random(kind: FailureKind, rows: int, concurrency: int, *, latency_s: float, retry_after: float | None) -> None:
    """Failures that come at any pace: the time they cost, over three seeds."""
    calm = run_virtually(send_rows(rows=rows, concurrency=concurrency, latency_s=latency_s)).seconds
    spans = []
    for share in (0.001, 0.01, 0.05, 0.1):
        took = [
            run_virtually(
                send_rows(
                    rows=rows, concurrency=concurrency, latency_s=latency_s, seed=seed,
                    weather=Weather({kind: share}, retry_after, rng=random.Random(1_000 + seed)),
                )
            ).seconds
            for seed in range(3)
        ]  # fmt: skip
        spans.append(f"{share:.1%} {min(took):.1f} to {max(took):.1f} s ({calm / (1 - 2 * share) + 5:.1f} allowed)")
    told = "" if retry_after is None else ", Retry-After"
    print(f"{kind.value}{told}, {rows:,} rows, {concurrency} in flight, {latency_s} s: calm {calm:.1f} s; "
          + "; ".join(spans))  # fmt: skip


def unknown_limit(name: str, make: Callable[[], WindowLimit | BucketLimit], chance: float) -> None:
    """A limit of 20 calls a second that the job does not name: minutes 2 to 4, over latencies and Retry-After."""
    used, refused = [], []
    for latency_s, concurrency in ((0.04, 32), (1.0, 256)):
        for tells in (True, False):
            sent = run_virtually(
                send_rows(
                    rows=10**9, concurrency=concurrency, latency_s=latency_s, limit=make(), until=240, seed=1,
                    tells_retry_after=tells,
                    weather=Weather({FailureKind.RATE_LIMIT: chance}, rng=random.Random(1_001)) if chance else None,
                )
            )  # fmt: skip
            used.append(sent.used(60, 240, 20.0 * (1 - chance)))
            refused.append(sent.refused(60, 240))
    print(f"limit unknown, {name}, {chance:.0%} refused by chance: {min(used):.1%} to {max(used):.1%} used, "
          f"{min(refused):.1%} to {max(refused):.1%} refused by the limit")  # fmt: skip


def told_limit(name: str, make: Callable[[float], WindowLimit | BucketLimit]) -> None:
    """A limit that the job names as rpm, counted otherwise."""
    for rate in (20, 50):
        sent = run_virtually(
            send_rows(rows=10**9, concurrency=64, latency_s=0.5, limiter=Limiter(rate * 60, None, 0.0),
                      limit=make(rate), until=120)
        )  # fmt: skip
        print(f"limit named as {rate * 60:,} rpm, {name}: {sent.used(20, 120, rate):.1%} used, "
              f"{len(sent.limited)} 429s")  # fmt: skip


WAYS_TO_COUNT: dict[str, Callable[[float], WindowLimit | BucketLimit]] = {
    "window of 1 s": lambda rate: WindowLimit(rate, 1),
    "window of 10 s": lambda rate: WindowLimit(rate * 10, 10),
    "window of 60 s": lambda rate: WindowLimit(rate * 60, 60),
    "bucket of 1 s": lambda rate: BucketLimit(rate, 1),
    "bucket of 10 s": lambda rate: BucketLimit(rate * 10, 10),
}


def chance_and_limits() -> None:
    for retry_after in (None, 1.0):
        for latency_s, rows in ((0.005, 20_000), (0.04, 8_000), (1.0, 1_500)):
            at_random(FailureKind.RATE_LIMIT, rows, 32, latency_s=latency_s, retry_after=retry_after)
    for kind in (FailureKind.INTERNAL_ERROR, FailureKind.UPSTREAM_ERROR, FailureKind.DISCONNECT):
        at_random(kind, 20_000, 256, latency_s=0.05, retry_after=None)
    for name, make in WAYS_TO_COUNT.items():
        told_limit(name, make)
        for chance in (0.0, 0.05):
            unknown_limit(name, lambda make=make: make(20.0), chance)  # type: ignore[misc]


def main() -> None:
    chance_and_limits()
    for name, settings in (("bucket of 1 s", Settings(rpm=RPM, limit_window="bucket")), ("sliding", Settings(rpm=RPM))):
        steady(f"RPM, {name}", settings, Limiter(RPM, None, 0.0))
    tpm = RPM * MEAN_TOKENS
    for seconds in (1.0, 10.0):
        settings = Settings(tpm=tpm, limit_window="bucket", bucket_seconds=seconds)
        steady(f"TPM, bucket of {seconds:g} s", settings, Limiter(None, tpm, 0.0), tokens=True)
    steady("TPM, sliding", Settings(tpm=tpm), Limiter(None, tpm, 0.0), tokens=True)
    quota = Quota(Settings(rpm=RPM))
    limiter = Limiter(RPM, None, 0.0, sliding=True)
    took = run_virtually(send(quota, limiter, calls=3_000, concurrency=256, latency_s=0.1))
    print(f"3,000 calls at 1,200 RPM, window: sliding: {took:.1f} s, {len(quota.refused)} 429s")
    for latency_s in (0.2, 5.0):
        disturbed("bucket", "bucket", latency_s, retry_after=lambda wait: float(math.ceil(wait)))
        disturbed("bucket, no Retry-After", "bucket", latency_s, retry_after=lambda _: None)
        disturbed("sliding", "sliding", latency_s, retry_after=lambda wait: float(math.ceil(wait)))
