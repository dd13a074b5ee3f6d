"""Permit: what an admitted call holds until it ends."""

from __future__ import annotations

from dataclasses import dataclass

from rowmill.tasks.gateway.admission.evidence import Call
from rowmill.tasks.gateway.admission.limiter import Taking


@dataclass(slots=True)
class Permit:
    """What the call took of the limiter, 10⁻¹² USD of the budget, and a slot since `slot.admitted_at` (monotonic s).

    `alone` where no other call was let in beside it: the first one, and a probe.
    """

    row: int
    taking: Taking
    worst_usd: int
    slot: Call
    alone: bool
