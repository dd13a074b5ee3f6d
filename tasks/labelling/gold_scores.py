"""Gold scores: what the votes said, against gold: label by label, of sets, one level above, by agreement."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from msgspec import UNSET
from msgspec.structs import asdict, replace

from rowmill.schemas.accuracy import Accuracy
from rowmill.schemas.label import Label
from rowmill.schemas.label_quality import Calibration, Confusion, GoldScores, LabelIntervals, LabelScores
from rowmill.tasks.labelling.basis import Basis
from rowmill.tasks.labelling.scores import accuracy, cohen_kappa, retrieval, wilson

# Where gold comes from.
GOLD_COLUMN, AUDIT, CHOSEN = "gold_column", "audit", "chosen_by_people"


def rows_by_basis(basis: Basis) -> dict[str, pl.Expr]:
    """The rows of each basis, the soundest first."""
    theirs = pl.col("row_id").is_in(sorted(basis.by_people))
    drawn = pl.col("row_id").is_in(basis.audited)
    return {GOLD_COLUMN: ~theirs, AUDIT: drawn, CHOSEN: theirs & ~drawn}


def scores_by_basis(rows: pl.LazyFrame, label: Label, basis: Basis) -> tuple[GoldScores | None, dict[str, Accuracy]]:
    """Scores against gold of the soundest basis there is, and beside them the share right of each by name.

    Rows that people chose to look at are no sample: their share has no interval, and theirs are the scores only where
    there is no other gold.
    """
    found: GoldScores | None = None
    accuracies: dict[str, Accuracy] = {}
    for name, part in rows_by_basis(basis).items() if basis.by_people else [(GOLD_COLUMN, pl.lit(True))]:
        scores = against_gold(rows.filter(part), label)
        if scores is None:
            continue
        low, high = (None, None) if name == CHOSEN else (scores.low, scores.high)
        accuracies[name] = Accuracy(rows=scores.rows, right=scores.right, accuracy=scores.accuracy, low=low, high=high)
        found = found or replace(scores, basis=name, low=low, high=high)
    return found, accuracies


def against_gold(rows: pl.LazyFrame, label: Label) -> GoldScores | None:
    """Scores of what the votes said, against gold; None where no scored row has any."""
    scored = rows.filter(pl.col("correct").is_not_null())
    pairs = (
        scored.select(
            _values("gold", label).alias("gold"),
            _values("voted_label", label).alias("said"),
            pl.col("agreement").round(3),
            "correct",
        )
        .group_by("gold", "said", "agreement", "correct")
        .agg(pl.len().alias("n"))
        .collect()
    )
    total = int(pairs["n"].sum())
    if not total:
        return None
    confusion = {
        (gold, said): count
        for gold, said, count in pairs.group_by("gold", "said").agg(pl.col("n").sum()).sort("gold", "said").iter_rows()
    }
    each = _each_label(confusion, label)
    jaccard, micro_f1 = _of_sets(confusion, each, label) if label.multi else (UNSET, UNSET)
    return GoldScores(
        **asdict(accuracy(int(pairs.filter("correct")["n"].sum()), total)),
        cohen_kappa=_kappa(confusion),
        macro_f1=_mean([one.f1 for one in each]),
        jaccard=jaccard,
        micro_f1=micro_f1,
        at_parent=_at_parent(confusion, label) if label.hierarchy else UNSET,
        labels=each,
        intervals=_intervals(each, confusion, label),
        confusion=[Confusion(gold=gold, label=said, rows=count) for (gold, said), count in confusion.items()],
        calibration=_calibration(pairs),
    )


def _kappa(confusion: Mapping[tuple[str, str | None], int]) -> float | None:
    """Cohen's κ; an answer without a label counts as a label of its own. Sets of labels count as one each."""
    names = sorted({name or "" for pair in confusion for name in pair})
    matrix = np.zeros((len(names), len(names)), np.int64)
    for (gold, said), count in confusion.items():
        matrix[names.index(gold), names.index(said or "")] += count
    return cohen_kappa(matrix)


def _each_label(confusion: Mapping[tuple[str, str | None], int], label: Label) -> list[LabelScores]:
    """Precision, recall and F1 label by label, each against all others."""
    found = []
    for name in label.names:
        right = said = gold = 0
        for (gold_text, said_text), count in confusion.items():
            is_gold, is_said = (name in _parts(text, label) for text in (gold_text, said_text))
            right, said, gold = right + count * (is_gold and is_said), said + count * is_said, gold + count * is_gold
        scores = retrieval(right, said, gold)
        found.append(LabelScores(label=name, gold_rows=gold, labelled_rows=said, **asdict(scores)))
    return found


def _of_sets(
    confusion: Mapping[tuple[str, str | None], int], each: list[LabelScores], label: Label
) -> tuple[float, float | None]:
    """Scores of rows that may have several labels: mean Jaccard similarity (1 where neither has any), and F1 of all
    labels together. `accuracy` beside them is the share of rows whose whole set is right.
    """
    alike = found = 0.0
    for (gold_text, said_text), count in confusion.items():
        gold, said = (set(filter(None, _parts(text, label))) for text in (gold_text, said_text))
        either = gold | said
        missing = said_text is None
        alike += count * (0.0 if missing else len(gold & said) / len(either) if either else 1.0)
        found += count * len(gold & said)
    total = sum(one.labelled_rows + one.gold_rows for one in each)
    return alike / sum(confusion.values()), 2 * found / total if total else None


def _at_parent(confusion: Mapping[tuple[str, str | None], int], label: Label) -> Accuracy:
    """How many rows are right one level above their labels: a refund that is taken for another matter of billing."""
    right = sum(
        count
        for (gold, said), count in confusion.items()
        if said is not None
        and {label.parent(name) for name in _parts(gold, label)} == {label.parent(name) for name in _parts(said, label)}
    )
    return accuracy(right, sum(confusion.values()))


def _intervals(
    each: list[LabelScores], confusion: Mapping[tuple[str, str | None], int], label: Label
) -> list[LabelIntervals]:
    """95 % intervals of precision and recall, label by label."""
    found = []
    for one in each:
        name = one.label
        right = sum(
            count
            for (gold, said), count in confusion.items()
            if name in _parts(gold, label) and name in _parts(said, label)
        )
        found.append(LabelIntervals(
            label=name,
            precision=wilson(right, one.labelled_rows) if one.labelled_rows else None,
            recall=wilson(right, one.gold_rows) if one.gold_rows else None,
        ))  # fmt: skip
    return found


def _parts(text: str | None, label: Label) -> tuple[str, ...]:
    if text is None:
        return ()
    return tuple(text.split("\n")) if label.multi else (text,)


def _calibration(pairs: pl.DataFrame) -> list[Calibration]:
    """How often rows of an agreement are right: an agreement that can be trusted grows with it."""
    told = (
        pairs.drop_nulls("agreement")
        .group_by("agreement")
        .agg(pl.col("n").sum().alias("rows"), (pl.col("n") * pl.col("correct")).sum().alias("right"))
        .sort("agreement")
    )
    return [
        Calibration(agreement=agreement, rows=rows, right=right, accuracy=right / rows)
        for agreement, rows, right in told.iter_rows()
    ]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _values(column: str, label: Label) -> pl.Expr:
    """A label column as one text a row: several labels in their order, parted by a line feed."""
    return pl.col(column).list.join("\n") if label.multi else pl.col(column)
