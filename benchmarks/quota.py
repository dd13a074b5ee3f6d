"""Quotas in virtual time: how much of a limit is used, and how often it is overstepped."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Literal

from benchmarks.virtual import Quota, cut_and_restored, run_virtually, send
from rowmill.sandbox.settings import Settings
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


def disturbed(name: str, window: Window, latency_s: float, retry_after: Callable[[float], float | None]) -> None:
    phases = cut_and_restored(Quota(Settings(rpm=RPM, limit_window=window), retry_after), RPM, latency_s)
    told = ", ".join(f"{share:.1%} ({count} 429s)" for share, count in phases)
    print(f"cut to a third and restored, {name}, {latency_s} s: {told}")


def main() -> None:
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
        disturbed("bucket", "bucket", latency_s, lambda wait: float(math.ceil(wait)))
        disturbed("bucket, no Retry-After", "bucket", latency_s, lambda _: None)
        disturbed("sliding", "sliding", latency_s, lambda wait: float(math.ceil(wait)))
