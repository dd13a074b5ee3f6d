"""Deadline: the moment from which a run sends nothing more, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time

from rowmill.schemas.job import Job
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN
from rowmill.tasks.system.local_time import next_time_of_day, shown

HOUR_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at` in seconds since 1970 UTC; `reached` is how a run ends then."""

    at: float
    reached: Termination


def deadline_of(job: Job, began: float, told: float | None = None) -> Deadline | None:
    """When a run of this job that began then (seconds since 1970 UTC) has to end; None where nothing says so.

    The earlier of `stop_at` and `max_hours`. `told` is the moment that held before the run was
    suspended and begun anew.
    """
    moments: list[tuple[float, str]] = []
    if job.stop_at is not None:
        at = next_time_of_day(began, time.fromisoformat(job.stop_at), job.time_zone)
        moments.append((at, f"stop_at {job.stop_at}"))
    if job.max_hours is not None:
        moments.append((began + job.max_hours * HOUR_S, f"max_hours {job.max_hours:g}"))
    if not moments:
        return None
    at, key = min(moments)
    if told is not None and told < at:
        at = told
    message = f"{key}: no call is sent from {shown(at, job.time_zone)} on"
    return Deadline(at, Termination(TerminationKind.DEADLINE, None, message, RUN_AGAIN))


def ended_waiting(deadline: Deadline, wait: str) -> Termination:
    """How a run ends that would wait beyond its deadline."""
    reached = deadline.reached
    return Termination(reached.kind, "spend_limit", f"{reached.message}, and before that {wait}", reached.next)
