"""Quality: how good the labels of an output are, from its parts alone. Rows are streamed, counts are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from msgspec import UNSET
from msgspec.structs import asdict, replace

from rowmill.schemas.accuracy import Accuracy
from rowmill.schemas.label import Label
from rowmill.schemas.label_quality import (
    Calibration,
    CascadeCost,
    Confusion,
    Escalation,
    GoldScores,
    LabelIntervals,
    LabelQuality,
    LabelScores,
    ProbabilityBin,
    ProbabilityScores,
    VoteAgreement,
)
from rowmill.schemas.results import PROBABILITY
from rowmill.tasks.labelling.basis import Basis
from rowmill.tasks.labelling.scores import (
    Counts,
    accuracy,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    retrieval,
    wilson,
)
from rowmill.tasks.output.label_columns import labelling_in
from rowmill.tasks.plan.vote_rules import stages, winner

BATCH_ROWS = 8_192
# Escalated rows whose votes are weighed again to tell what the stronger model changed: enough for any share.
WEIGHED_MOST = 200_000
PARTS = "part-*.parquet"
# Where gold comes from.
GOLD_COLUMN, AUDIT, CHOSEN = "gold_column", "audit", "chosen_by_people"


def _rows_of(basis: Basis) -> dict[str, pl.Expr]:
    """The rows of each basis, the soundest first."""
    theirs = pl.col("row_id").is_in(sorted(basis.by_people))
    drawn = pl.col("row_id").is_in(basis.audited)
    return {GOLD_COLUMN: ~theirs, AUDIT: drawn, CHOSEN: theirs & ~drawn}


def label_quality(results: Path, label: Label, basis: Basis) -> LabelQuality:
    """Labels, votes, agreement, and scores against gold where there is any; nothing yet of what people said."""
    rows = pl.scan_parquet(results / PARTS)
    answered = rows.filter(pl.col("votes").list.len() > 0)
    told = answered.select(
        pl.len().alias("rows"),
        pl.col("votes").list.len().sum().alias("votes"),
        pl.col("voted_label").is_null().sum().alias("without"),
        pl.col("agreement").mean().alias("agreement"),
    ).collect().row(0, named=True)  # fmt: skip
    gold, accuracies = _by_basis(rows, label, basis)
    return LabelQuality(
        rows=told["rows"],
        labels=_label_counts(rows, label),
        rows_without_label=told["without"],
        votes=told["votes"],
        votes_a_row=told["votes"] / told["rows"] if told["rows"] else None,
        agreement=_vote_agreement(answered, label, told["agreement"]),
        gold=gold,
        accuracy=accuracies,
        escalation=_escalation(results, rows, label) if label.escalate else None,
    )


def _by_basis(rows: pl.LazyFrame, label: Label, basis: Basis) -> tuple[GoldScores | None, dict[str, Accuracy]]:
    """Scores against gold of the soundest basis there is, and beside them the share right of each by name.

    Rows that people chose to look at are no sample: their share has no interval, and theirs are the scores only where
    there is no other gold.
    """
    found: GoldScores | None = None
    accuracies: dict[str, Accuracy] = {}
    for name, part in _rows_of(basis).items() if basis.by_people else [(GOLD_COLUMN, pl.lit(True))]:
        scores = against_gold(rows.filter(part), label)
        if scores is None:
            continue
        low, high = (None, None) if name == CHOSEN else (scores.low, scores.high)
        accuracies[name] = Accuracy(rows=scores.rows, right=scores.right, accuracy=scores.accuracy, low=low, high=high)
        found = found or replace(scores, basis=name, low=low, high=high)
    return found, accuracies


def _label_counts(rows: pl.LazyFrame, label: Label) -> dict[str, int]:
    each = rows.select(pl.col("label").explode() if label.multi else pl.col("label")).drop_nulls()
    counted = dict(each.group_by("label").agg(pl.len()).collect().iter_rows())
    return {name: counted.get(name, 0) for name in label.names}


def _values(column: str, label: Label) -> pl.Expr:
    """A label column as one text a row: several labels in their order, parted by a line feed."""
    return pl.col(column).list.join("\n") if label.multi else pl.col(column)


def _vote_agreement(rows: pl.LazyFrame, label: Label, mean: float | None) -> VoteAgreement:
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


def probability_scores(results: Path, basis: Basis) -> ProbabilityScores | None:
    """How far the probabilities of labels can be believed, on the gold rows that are a sample; None without any."""
    has_both = pl.col("correct").is_not_null() & pl.col(PROBABILITY).is_not_null()
    scored = pl.scan_parquet(results / PARTS).filter(has_both)
    for name, part in _rows_of(basis).items():
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


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _escalation(results: Path, rows: pl.LazyFrame, label: Label) -> Escalation:
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
    for part in sorted(results.glob(PARTS)):
        with pq.ParquetFile(part, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
                for values in batch.to_pylist():
                    if values["votes"] and any(vote["model"] == stronger for vote in values["votes"]):
                        yield values
