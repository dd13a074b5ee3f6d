"""The fleet on paper: a hundred runs of one key, their real limiters and a real Redis, under a clock of our own.

`python -m benchmarks fleet`. Each run beats once a second as it does in life, at a moment of its own; between beats it
goes by its limiter. The gateway is counted, not asked.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from statistics import median, quantiles

from benchmarks import redis_server
from rowmill.tasks.gateway.admission.bucket import Bucket
from rowmill.tasks.gateway.admission.limiter import BURST_S, EVEN_SHARED
from rowmill.tasks.gateway.admission.shared_limits import GONE_S, Share, Store, open_store

RUNS, RPM = 100, 120_000.0
SECONDS, LOST_AT, STEP_S = 240, 120, 0.05
LIMIT = Share(RPM, 0.0)
ROWS = 10**8
SHARD_ROWS, TASK_RUN_BYTES = 100_000, 19_000


@dataclass(slots=True)
class Run:
    """One run that always has rows to send."""

    seat: str
    bucket: Bucket
    phase: float
    held: Share = field(default_factory=Share)
    sent: int = 0
    alive: bool = True


async def beat(store: Store, run: Run, now: float, *, spent: list[float]) -> None:
    began = time.perf_counter()
    told = await store.beat(run.seat, LIMIT, LIMIT, held=run.held, now_ms=now * 1_000)
    spent.append(time.perf_counter() - began)
    run.held = told.share
    run.bucket.set_rate(told.share.rpm * EVEN_SHARED / 60, now)


async def simulate(url: str) -> None:
    rng, spent = random.Random(1), []
    store = open_store(url, "paper")
    runs = [Run(f"run{n}", Bucket(1e-6, BURST_S, 0.0), rng.random()) for n in range(RUNS)]
    sent = [0] * SECONDS
    at_loss: list[int] = []
    for tick in range(int(SECONDS / STEP_S)):
        now = tick * STEP_S
        if now == LOST_AT:
            at_loss = [run.sent for run in runs]
            for run in runs[: RUNS // 3]:
                run.alive = False
        for run in runs:
            if not run.alive:
                continue
            if (now - run.phase) % 1.0 < STEP_S and now >= run.phase:
                await beat(store, run, now, spent=spent)
            while run.bucket.wait(1, now) == 0:
                run.bucket.take(1, now)
                run.sent += 1
                sent[int(now)] += 1
    memory = await store._client.info("memory")
    await store.close()
    tell(sent, at_loss, spent, memory=memory["used_memory"])


def tell(sent: list[int], at_loss: list[int], spent: list[float], *, memory: int) -> None:
    a_second = RPM / 60
    full = next(second for second, calls in enumerate(sent) if calls >= 0.97 * a_second)
    steady = sum(sent[full + 5 : LOST_AT]) / (LOST_AT - full - 5) / a_second
    back = next(second for second in range(LOST_AT + 1, SECONDS) if sent[second] >= 0.97 * a_second)
    fair = sum(at_loss) ** 2 / (len(at_loss) * sum(count**2 for count in at_loss))
    print(f"{RUNS} runs of one key, {RPM:,.0f} calls a minute, a real Redis, a clock of our own:")
    print(
        f"  97 % of the quota in use after {full} s; then {steady:.2%}, at most {max(sent) / a_second:.2%} in a second"
    )
    print(f"  fairness (Jain's index over calls sent): {fair:.4f}")
    print(f"  a third of the runs vanish: {sent[LOST_AT + 1] / a_second:.0%} left, 97 % again after {back - LOST_AT} s "
          f"(a run is gone after {GONE_S:g} s)")  # fmt: skip
    beats = quantiles(spent, n=100)
    print(f"  the store: 1 request a second and run, {median(spent) * 1e6:.0f} µs each (p99 {beats[98] * 1e6:.0f} µs), "
          f"{memory / 1e6:.1f} MB in all")  # fmt: skip
    print(f"{ROWS:,} rows in shards of {SHARD_ROWS:,}: {ROWS // SHARD_ROWS:,} task runs, "
          f"{ROWS // SHARD_ROWS * TASK_RUN_BYTES / 1e6:.0f} MB of Prefect's database; "
          f"{ROWS / RPM / 60:.1f} hours at {RPM:,.0f} calls a minute")  # fmt: skip


def fleet() -> None:
    with redis_server.running() as port:
        asyncio.run(simulate(f"redis://127.0.0.1:{port}/0"))
