"""Accuracy: a forecast held against what its run really cost, in all and by decile of input length."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rowmill.schemas.attempt import Spent
from rowmill.schemas.forecast import DecileCost, Forecast, ForecastAccuracy
from rowmill.schemas.price import PICO
from rowmill.tasks.output.results_frame import scan_results

ESTIMATE = "estimate.json"
COLUMNS = ("input_tokens", "attempts", "cost_usd", "reused_from")
DECILES = 10


def read_forecast(output: Path) -> Forecast | None:
    """The forecast an output holds; None where there is none that can be read."""
    try:
        return msgspec.json.decode((output / ESTIMATE).read_bytes(), type=Forecast)
    except (OSError, msgspec.MsgspecError):
        return None


def measure_accuracy(told: Forecast, sent: Spent, results: Path) -> ForecastAccuracy | None:
    """Forecast and actual cost of the rows that were still to ask; None where neither has a price.

    `sent` is all that was ever sent for the output, as `told.spent_usd` was when the forecast was made. Deciles are of
    all rows that were asked, by their billed input tokens: expected is the forecast's line.
    """
    if told.cost_usd is None or sent.cost is None:
        return None
    actual = (sent.cost.usd + sent.unknown_usd) / PICO - told.spent_usd
    cost = told.cost_usd
    return ForecastAccuracy(
        made_at=told.made_at,
        basis=told.basis.value,
        rows=told.rows.to_ask,
        estimate_usd=cost.estimate,
        low_usd=cost.low,
        high_usd=cost.high,
        bound_99_usd=cost.bound_99,
        actual_usd=actual,
        off_by=actual / cost.estimate - 1 if cost.estimate else None,
        within=cost.low <= actual <= cost.high,
        deciles=_deciles(told, results),
    )


def _deciles(told: Forecast, results: Path) -> list[DecileCost]:
    """Expected and actual cost by tenths of the rows, the shortest input first."""
    import polars as pl

    ratio = told.sample.input_ratio if told.sample else 1.0
    tokens = pl.col("input_tokens") / pl.col("attempts") / ratio
    asked = (
        scan_results(results)
        .select(COLUMNS)
        .filter(pl.col("reused_from").is_null() & (pl.col("attempts") > 0) & pl.col("cost_usd").is_not_null())
        .select(
            pl.col("input_tokens"),
            pl.col("cost_usd").cast(pl.Float64).alias("actual"),
            (told.intercept_usd + told.usd_per_token * tokens).alias("expected"),
            ((pl.col("input_tokens").rank("ordinal") - 1) * DECILES // pl.len()).alias("decile"),
        )
        .group_by("decile")
        .agg(pl.len().alias("rows"), pl.col("input_tokens").mean(), pl.col("expected").sum(), pl.col("actual").sum())
        .sort("decile")
        .collect()
    )
    return [
        DecileCost(rows=rows, mean_input_tokens=tokens, expected_usd=expected, actual_usd=actual)
        for rows, tokens, expected, actual in asked.select("rows", "input_tokens", "expected", "actual").iter_rows()
    ]  # fmt: skip
