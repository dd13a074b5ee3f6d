"""Probability scores: how far the probabilities of labels can be believed."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from rowmill.schemas.label_quality import ProbabilityBin, ProbabilityScores
from rowmill.schemas.results import PROBABILITY
from rowmill.tasks.labelling.basis import Basis
from rowmill.tasks.labelling.gold_scores import CHOSEN, rows_by_basis
from rowmill.tasks.output.results_frame import scan_results


def probability_scores(results: Path, basis: Basis) -> ProbabilityScores | None:
    """How far the probabilities of labels can be believed, on the gold rows that are a sample; None without any."""
    has_both = pl.col("correct").is_not_null() & pl.col(PROBABILITY).is_not_null()
    scored = scan_results(results).filter(has_both)
    for name, part in rows_by_basis(basis).items():
        sure, right = pl.col(PROBABILITY), pl.col("correct").cast(pl.Float64)
        tenth = (sure * 10).floor().clip(0, 9).cast(pl.Int64).alias("tenth")
        sums = [pl.len().alias("rows"), sure.sum().alias("sure"), right.sum().alias("right"),
                ((sure - right) ** 2).sum().alias("squares")]  # fmt: skip
        bins = scored.filter(part).group_by(tenth).agg(sums).sort("tenth").collect()
        rows = int(bins["rows"].sum())
        if name == CHOSEN or not rows:
            continue
        return ProbabilityScores(
            rows=rows,
            mean=float(bins["sure"].sum()) / rows,
            accuracy=float(bins["right"].sum()) / rows,
            brier=float(bins["squares"].sum()) / rows,
            bins=[
                ProbabilityBin(
                    low=one["tenth"] / 10,
                    high=(one["tenth"] + 1) / 10,
                    rows=one["rows"],
                    mean=one["sure"] / one["rows"],
                    right=int(one["right"]),
                    accuracy=one["right"] / one["rows"],
                )
                for one in bins.iter_rows(named=True)
            ],
        )
    return None
