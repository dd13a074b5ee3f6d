"""Timeline: what `run.json` tells under `course`, the calls of the last run that made any, sample by sample."""

from __future__ import annotations

from msgspec import Struct, field


class TimelineSamples(Struct, frozen=True, kw_only=True):
    """Every `step_s` seconds: calls in flight, how many were allowed, and calls in the minute before.

    `rpm` is the job's limit of calls a minute.
    """

    step_s: float = 0.1
    in_flight: list[int] = field(default_factory=list)
    limit: list[int] = field(default_factory=list)
    calls_a_minute: list[float] = field(default_factory=list)
    rpm: float | None = None
