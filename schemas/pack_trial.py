"""Pack trial: how many rows may share a call without harm, and what shows it."""

from __future__ import annotations

import msgspec


class PackTrial(msgspec.Struct, frozen=True):
    """One size on the gold rows. `worse_by` is how much less often it is right than one row a call, at the most."""

    rows_per_call: int
    rows: int
    accuracy: float | None
    usd_per_1000_rows: float | None
    worse_by: float | None
    is_no_worse: bool


class PackDecision(msgspec.Struct, frozen=True):
    """What `rows_per_call: auto` came to. `job` is the fingerprint of the job with one row a call."""

    job: str
    rows_per_call: int
    margin: float
    reason: str
    trials: list[PackTrial]
