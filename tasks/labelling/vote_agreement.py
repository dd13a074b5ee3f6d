"""Vote agreement: how far the votes of a row agree, and what of that is beyond chance."""

from __future__ import annotations

import numpy as np
import polars as pl

from rowmill.schemas.label import Label
from rowmill.schemas.label_quality import VoteAgreement
from rowmill.tasks.labelling.scores import Counts, fleiss_kappa, krippendorff_alpha


def vote_agreement(rows: pl.LazyFrame, label: Label, mean: float | None) -> VoteAgreement:
    """The agreement of votes, and what of it is beyond chance among the first votes of the job's model.

    Votes that are asked only where the first ones differ are left out: they would make the agreement look worse than it
    is. So many are compared as every row has.
    """
    if label.votes < 2:
        return VoteAgreement(mean=mean)
    stronger = label.escalate.model if label.escalate else ""
    asked = rows.select(pl.col("votes").list.filter(pl.element().struct.field("model") != stronger).alias("votes"))
    compared = max(2, asked.select(pl.col("votes").list.len().min()).collect().item() or 0)
    counts, weights = _kinds_of_rows(asked, compared, label)
    whole = counts.sum(1) == compared
    return VoteAgreement(
        mean=mean,
        votes_compared=compared,
        krippendorff_alpha=krippendorff_alpha(counts, weights),
        fleiss_kappa=fleiss_kappa(counts[whole], weights[whole]),
    )


def _kinds_of_rows(asked: pl.LazyFrame, compared: int, label: Label) -> tuple[Counts, Counts]:
    """How often each label was said in the first votes, for each kind of row, and how many rows are of that kind."""
    said = pl.element().struct.field("label")
    each = pl.col("votes").list.head(compared).list.eval((said.list.join("\n") if label.multi else said).drop_nulls())
    kinds = asked.select(each.list.sort().alias("said")).group_by("said").agg(pl.len().alias("rows")).collect()
    names = sorted({name for said in kinds["said"].to_list() for name in said})
    counts = np.array([[said.count(name) for name in names] for said in kinds["said"].to_list()], np.int64)
    return counts.reshape(kinds.height, len(names)), kinds["rows"].to_numpy().astype(np.int64)
