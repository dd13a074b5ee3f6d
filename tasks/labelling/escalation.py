"""Escalation: what a stronger model was asked, what it changed, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from rowmill.schemas.label import Label
from rowmill.schemas.label_quality import CascadeCost, Escalation
from rowmill.tasks.output.label_columns import labelling_in
from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.plan.vote_rules import stages, winner

BATCH_ROWS = 8_192
# Escalated rows whose votes are weighed again to tell what the stronger model changed: enough for any share.
WEIGHED_MOST = 200_000


def escalation(results: Path, rows: pl.LazyFrame, label: Label) -> Escalation:
    """What the stronger model was asked, what it changed, and what asking it about every row would have cost.

    That cost is the mean of its votes here, times its votes a row, over all rows that were answered.
    """
    assert label.escalate is not None
    stronger = label.escalate.model
    each = rows.select(pl.col("votes").explode()).drop_nulls().select(
        (pl.col("votes").struct.field("model") == stronger).alias("second"),
        pl.col("votes").struct.field("cost_usd").cast(pl.Float64).alias("usd"),
    )  # fmt: skip
    sums = {row[0]: row[1:] for row in each.group_by("second").agg(pl.col("usd").sum(), pl.len()).collect().iter_rows()}
    first_usd, second_usd = sums.get(False, (0.0, 0))[0], sums.get(True, (0.0, 0))[0]
    calls = sums.get(True, (0.0, 0))[1]
    paid = rows.filter(pl.col("votes").list.eval(pl.element().struct.field("cost_usd").cast(pl.Float64)).list.sum() > 0)
    answered = paid.select(pl.len()).collect().item()
    escalated = rows.filter(pl.col("votes").list.eval(pl.element().struct.field("model") == stronger).list.any())
    alone = second_usd / calls * label.escalate.votes * answered if calls else None
    return Escalation(
        model=stronger,
        rows=escalated.select(pl.len()).collect().item(),
        **_weighed(results, label, stronger),
        cost_usd=CascadeCost(first=first_usd, stronger=second_usd),
        stronger_alone_usd=alone,
        saved_usd=None if alone is None else alone - first_usd - second_usd,
    )


def _weighed(results: Path, label: Label, stronger: str) -> dict[str, int]:
    """Escalated rows with the label that the first votes alone would have given, and with the one that they got."""
    told = dict.fromkeys(("weighed", "changed", "gold_rows", "right_before", "right_after"), 0)
    for values in islice(_escalated(results, stronger), WEIGHED_MOST):
        found = labelling_in(values)
        assert found is not None
        before = winner(label, stages(label, found.votes)[0])
        told["weighed"] += 1
        told["changed"] += before != found.labels
        if values["correct"] is not None and found.gold is not None:
            told["gold_rows"] += 1
            told["right_before"] += before is not None and set(before) == set(found.gold)
            told["right_after"] += bool(values["correct"])
    return told


def _escalated(results: Path, stronger: str) -> Iterator[dict[str, Any]]:
    columns = ["votes", "agreement", "gold", "correct", "voted_label"]
    for part in result_parts(results):
        with pq.ParquetFile(part, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
                for values in batch.to_pylist():
                    if values["votes"] and any(vote["model"] == stronger for vote in values["votes"]):
                        yield values
