"""Caps: what a job may still spend, and which of its caps says so."""

from __future__ import annotations

from dataclasses import dataclass

from rowmill.schemas.job import Job


@dataclass(frozen=True, slots=True)
class Cap:
    """A cap of a job by its key, and the USD that it leaves."""

    key: str
    left_usd: float


def least_cap(job: Job, spent_usd: float) -> Cap | None:
    """The cap that leaves the least where `spent_usd` is spent on the output already; None without any.

    A budget that runs share is none: it turns with the day, and what others take of it is not known before.
    """
    caps = [] if job.max_cost_usd is None else [Cap("max_cost_usd", max(0.0, float(job.max_cost_usd) - spent_usd))]
    if job.max_run_cost_usd is not None:
        caps.append(Cap("max_run_cost_usd", float(job.max_run_cost_usd)))
    return min(caps, key=lambda cap: cap.left_usd, default=None)
