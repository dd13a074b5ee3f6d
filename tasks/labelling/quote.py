"""Quote: what a run came to, beside what was quoted for it."""

from __future__ import annotations

from pathlib import Path

from msgspec import convert

from rowmill.schemas.quote import GoldFigures, Quote, QuotedFigures, QuoteOutcome
from rowmill.tasks.labelling.scored_rows import interval, shares_right
from rowmill.tasks.labelling.scores import Z_95
from rowmill.tasks.output.results_frame import result_parts, scan_results


def held_against(quote: Quote, results: Path, not_ok: int = 0) -> QuoteOutcome:
    """A quote beside what its run came to. `not_ok` is how many rows of an extraction have gold and are not ok."""
    shares = shares_right(results, not_ok)
    accuracy, low, high = interval(shares, Z_95) if shares else (None, None, None)
    return QuoteOutcome(
        quoted=convert(quote.model_dump(mode="json"), QuotedFigures),
        found=GoldFigures(
            rows=len(shares), accuracy=accuracy, low=low, high=high, usd_per_1000_rows=_usd_per_1000_rows(results)
        ),
        is_kept=None if high is None else bool(high >= quote.floor),
    )


def _usd_per_1000_rows(results: Path) -> float | None:
    import polars as pl

    parts = result_parts(results)
    if not parts:
        return None
    cost = scan_results(results).select(pl.col("cost_usd").cast(pl.Float64)).collect()["cost_usd"]
    return 1_000 * float(cost.sum()) / len(cost) if cost.count() else None
