"""Quote: what a run came to, beside what was quoted for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rowmill.schemas.quote import Quote
from rowmill.tasks.labelling.scored_rows import interval, shares_right
from rowmill.tasks.labelling.scores import Z_95
from rowmill.tasks.output.results_frame import result_parts


def held_against(quote: Quote, results: Path, not_ok: int = 0) -> dict[str, Any]:
    """What run.json tells under `quote`: the quote, and under `found` the same of all rows that are settled. `not_ok`
    is how many rows of an extraction have gold and are not ok.

    `is_kept` is False where the gold rows show less than the quote's floor beyond chance (95 %), None without one.
    """
    shares = shares_right(results, not_ok)
    found: dict[str, Any] = {"rows": len(shares), "accuracy": None, "low": None, "high": None}
    if shares:
        found |= zip(("accuracy", "low", "high"), interval(shares, Z_95), strict=True)
    found["usd_per_1000_rows"] = _usd_per_1000_rows(results)
    is_kept = bool(found["high"] >= quote.floor) if shares else None
    return {"quoted": quote.model_dump(mode="json"), "found": found, "is_kept": is_kept}


def _usd_per_1000_rows(results: Path) -> float | None:
    import polars as pl

    parts = result_parts(results)
    if not parts:
        return None
    cost = pl.scan_parquet(parts).select(pl.col("cost_usd").cast(pl.Float64)).collect()["cost_usd"]
    return 1_000 * float(cost.sum()) / len(cost) if cost.count() else None
