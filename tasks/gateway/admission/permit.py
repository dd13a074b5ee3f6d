"""Permit: what an admitted call holds until it ends."""

from __future__ import annotations

from dataclasses import dataclass

from rowmill.tasks.gateway.admission.limiter import Taking


@dataclass(slots=True)
class Permit:
    """What the call took of the limiter, 10⁻¹² USD of the budget, and a slot since `admitted_at` (monotonic seconds).

    `alone` where no other call was let in beside it: the first one, and a probe.
    """

    row: int
    taking: Taking
    worst_usd: int
    admitted_at: float
    alone: bool
