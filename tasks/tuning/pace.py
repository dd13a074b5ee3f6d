"""Pace: how long rows take at a job's limits, by what the rows of a plan have shown."""

from __future__ import annotations

from rowmill.schemas.job_sections import Limits
from rowmill.schemas.manifest import Manifest


def hours_per_million_rows(limits: Limits, manifest: Manifest) -> float | None:
    """Hours that a million rows take at `rpm` and `tpm`, the longer of both; None without a limit or a settled row.

    `manifest` is that of the plan's output, whose rows tell the calls and tokens of one.
    """
    settled, totals = manifest.ledger.settled, manifest.totals
    if not settled:
        return None
    tokens = totals.input_tokens + totals.output_tokens + totals.thought_tokens
    minutes = [
        1_000_000 * amount / settled / per_minute
        for amount, per_minute in ((totals.calls, limits.rpm), (tokens, limits.tpm))
        if per_minute
    ]
    return max(minutes) / 60 if minutes else None
