"""Quotas in virtual time: how much of a limit is used, and how often it is overstepped."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

from benchmarks.virtual import Quota, run_virtually, send
from sandbox.settings import Settings
from tasks.gateway.limiter import Limiter

RPM = 1_200.0
MEAN_TOKENS = math.exp(7 + 0.8**2 / 2)


def answer_tokens(rng: random.Random) -> float:
    """Lognormal: half of the answers below 1,100 tokens, one in a hundred above 7,000."""
    return rng.lognormvariate(7.0, 0.8)


def steady(name: str, settings: Settings, limiter: Limiter, *, tokens: bool = False) -> None:
    quota = Quota(settings)
    sizes = {"sizes": answer_tokens, "expected": MEAN_TOKENS} if tokens else {}
    run_virtually(send(quota, limiter, calls=6_000, concurrency=64, latency_s=1.5, **sizes))  # type: ignore[arg-type]
    start, end = quota.let_in[0][0] + 20, quota.let_in[-1][0]
    most = settings.tpm if tokens else settings.rpm
    assert most is not None
    used = quota.used(start, end, tokens=tokens) / (end - start) * 60 / most
    print(f"{name}: {used:.2%} used, {len(quota.refused)} 429s in 6,000 calls")


def cut_and_restored(name: str, window: str, latency_s: float, retry_after: Callable[[float], float | None]) -> None:
    def of(rpm: float) -> Settings:
        return Settings(rpm=rpm, limit_window="bucket" if window == "bucket" else "sliding")

    quota = Quota(of(RPM), retry_after)

    async def scenario() -> None:
        async def change() -> None:
            for rpm in (RPM / 3, RPM):
                await asyncio.sleep(300)
                quota.settings = of(rpm)

        changing = asyncio.create_task(change())
        limiter = Limiter(RPM, None, 0.0)
        await send(quota, limiter, calls=10**9, concurrency=256, latency_s=latency_s, until=900)
        await changing

    run_virtually(scenario())
    phases = [(20, 300, RPM), (300, 600, RPM / 3), (600, 900, RPM)]
    used = [quota.used(start, end) / (end - start) * 60 / rpm for start, end, rpm in phases]
    refused = [sum(start <= at < end for at in quota.refused) for start, end, _ in phases]
    print(f"cut to a third and restored, {name}, {latency_s} s: "
          + ", ".join(f"{share:.1%} ({count} 429s)" for share, count in zip(used, refused, strict=True)))  # fmt: skip


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
        cut_and_restored("bucket", "bucket", latency_s, lambda wait: float(math.ceil(wait)))
        cut_and_restored("bucket, no Retry-After", "bucket", latency_s, lambda _: None)
        cut_and_restored("sliding", "sliding", latency_s, lambda wait: float(math.ceil(wait)))
