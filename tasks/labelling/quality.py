"""Quality: how good the labels of an output are, from its parts alone. Rows are streamed, counts are kept."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from rowmill.schemas.label import Label
from rowmill.schemas.label_quality import LabelQuality
from rowmill.tasks.labelling.basis import Basis
from rowmill.tasks.labelling.escalation import escalation
from rowmill.tasks.labelling.gold_scores import scores_by_basis
from rowmill.tasks.labelling.vote_agreement import vote_agreement
from rowmill.tasks.output.results_frame import scan_results


def label_quality(results: Path, label: Label, basis: Basis) -> LabelQuality:
    """Labels, votes, agreement, and scores against gold where there is any; nothing yet of what people said."""
    rows = scan_results(results)
    answered = rows.filter(pl.col("votes").list.len() > 0)
    told = answered.select(
        pl.len().alias("rows"),
        pl.col("votes").list.len().sum().alias("votes"),
        pl.col("voted_label").is_null().sum().alias("without"),
        pl.col("agreement").mean().alias("agreement"),
    ).collect().row(0, named=True)  # fmt: skip
    gold, accuracies = scores_by_basis(rows, label, basis)
    return LabelQuality(
        rows=told["rows"],
        labels=_label_counts(rows, label),
        rows_without_label=told["without"],
        votes=told["votes"],
        votes_a_row=told["votes"] / told["rows"] if told["rows"] else None,
        agreement=vote_agreement(answered, label, told["agreement"]),
        gold=gold,
        accuracy=accuracies,
        escalation=escalation(results, rows, label) if label.escalate else None,
    )


def _label_counts(rows: pl.LazyFrame, label: Label) -> dict[str, int]:
    each = rows.select(pl.col("label").explode() if label.multi else pl.col("label")).drop_nulls()
    counted = dict(each.group_by("label").agg(pl.len()).collect().iter_rows())
    return {name: counted.get(name, 0) for name in label.names}
