"""Duration: how long the rows to ask will take, at each limit that there is; the longest binds."""

from __future__ import annotations

import math

from rowmill.schemas.catalogue import Model
from rowmill.schemas.forecast import Interval, Pace, Sample
from rowmill.schemas.job import Job
from rowmill.tasks.forecast.caps import Cap
from rowmill.tasks.forecast.counted_rows import Tally
from rowmill.tasks.forecast.prior import calls_a_row, rows_a_call

# Under a cap fewer calls may be in flight the more is spent: steps in which that is followed.
STEPS = 200


def pace_of(
    job: Job,
    model: Model,
    tally: Tally,
    *,
    ratio: float,
    output: float,
    sample: Sample | None,
    cost: Interval | None,
    cap: Cap | None,
) -> Pace:
    """Seconds that the rows to ask take, and what binds them.

    `ratio` is billed input tokens for each estimated one, all calls of a row together; `output` billed output tokens a
    row. Calls that a cap leaves unasked take no time.
    """
    calls = tally.to_ask * calls_a_row(job, sample) / rows_a_call(job, model)
    times: dict[str, float] = {}
    if job.limits.rpm:
        times["rpm"] = _minutes(calls, job.limits.rpm, job) * 60
    if job.limits.tpm:
        times["tpm"] = _minutes(tally.tokens * ratio + tally.to_ask * output, job.limits.tpm, job) * 60
    if calls and sample is not None and sample.mean_latency_s is not None:
        latency = sample.mean_latency_s
        # The first call goes alone, and the last ones do not share their time with others.
        times["concurrency"] = calls * latency / job.limits.concurrency + (2 * latency if calls > 1 else latency)
        if cap is not None and cost is not None:
            capped = _under_a_cap(
                calls, latency, job.limits.concurrency, free=cap.left_usd, cost=cost.estimate, worst_usd=tally.worst_usd
            )
            if capped is not None and capped > 1.05 * times["concurrency"]:
                times[cap.key] = capped
    if not times:
        return Pace(None, "no limit is set and no latency is known")
    binds = max(times, key=lambda name: times[name])
    return Pace(times[binds], binds)


def _minutes(amount: float, per_minute: float, job: Job) -> float:
    """A sliding minute takes its whole quota at once, and the next one a minute later."""
    if job.limits.window == "sliding":
        return max(0.0, math.ceil(amount / per_minute) - 1.0)
    return amount / per_minute


def _under_a_cap(
    calls: float, latency: float, concurrency: int, *, free: float, cost: float, worst_usd: float
) -> float | None:
    """Seconds where each call in flight holds its worst case back from what is left; None where none fits at all.

    `worst_usd` is the worst case of one call of each row, summed over the rows that `calls` are made for.
    """
    worst, each = worst_usd / calls, cost / calls
    if worst <= 0 or free < worst:
        return None
    seconds = 0.0
    for step in range(STEPS):
        in_flight = (free - each * calls * step / STEPS) / worst
        if in_flight < 1:
            break
        seconds += calls / STEPS * latency / min(concurrency, math.floor(in_flight))
    return seconds
