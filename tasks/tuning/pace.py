"""Pace: how long rows take at a job's limits, by what the rows of a plan have shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.schemas.job import Limits


def hours_per_million_rows(limits: Limits, manifest: Mapping[str, Any]) -> float | None:
    """Hours that a million rows take at `rpm` and `tpm`, the longer of both; None without a limit or a settled row.

    `manifest` is that of the plan's output, whose rows tell the calls and tokens of one.
    """
    ledger, totals = manifest.get("ledger") or {}, manifest.get("totals") or {}
    settled = ledger.get("rows", 0) - ledger.get("not_attempted", 0)
    if not settled:
        return None
    tokens = sum(totals[name] for name in ("input_tokens", "output_tokens", "thought_tokens"))
    minutes = [
        1_000_000 * amount / settled / per_minute
        for amount, per_minute in ((totals["calls"], limits.rpm), (tokens, limits.tpm))
        if per_minute
    ]
    return max(minutes) / 60 if minutes else None
