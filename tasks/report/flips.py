"""Flips: labels that differ between two outputs of the same rows, and whether one of them is better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from rowmill.schemas.display_text import counted
from rowmill.tasks.labelling.scores import mcnemar
from rowmill.tasks.output.results_frame import scan_results

FLIPS_SHOWN = 20
EXAMPLES = 3


def flips(before: Path, after: Path) -> dict[str, Any] | None:
    """Which labels became which, with examples; against gold where both have it. None where an output has no labels."""
    sides = [_labels(results) for results in (before, after)]
    if sides[0] is None or sides[1] is None:
        return None
    both = sides[0].join(sides[1], on="row_id", suffix="_b")
    labelled = both.filter(pl.col("label").is_not_null() & pl.col("label_b").is_not_null())
    flipped = labelled.filter(pl.col("label") != pl.col("label_b"))
    pairs = (
        flipped.group_by("label", "label_b")
        .agg(pl.len().alias("rows"), pl.col("row_id").sort().head(EXAMPLES).alias("examples"))
        .sort(["rows", "label", "label_b"], descending=[True, False, False])
        .collect()
    )
    shown = pairs.head(FLIPS_SHOWN).rename({"label": "from", "label_b": "to"})
    return {
        "in_both": labelled.select(pl.len()).collect().item(),
        "flipped": int(pairs["rows"].sum()),
        "flips": shown.to_dicts(),
        "by_label": _by_label(pairs),
        "gold": _against_gold(both),
    }


def _labels(results: Path) -> pl.LazyFrame | None:
    rows = scan_results(results)
    schema = rows.collect_schema()
    if "label" not in schema or "votes" not in schema:
        return None
    several = isinstance(schema["label"], pl.List)
    return rows.select("row_id", (pl.col("label").list.join(", ") if several else pl.col("label")), "correct")


def _by_label(pairs: pl.DataFrame) -> list[dict[str, Any]]:
    """For each label the rows that only A, and only B, gives it, and McNemar's p that this is chance."""
    lost = dict(pairs.group_by("label").agg(pl.col("rows").sum()).iter_rows())
    won = dict(pairs.group_by("label_b").agg(pl.col("rows").sum()).iter_rows())
    names = sorted({*lost, *won}, key=lambda name: (-lost.get(name, 0) - won.get(name, 0), name))
    return [
        {"label": name, "only_a": lost.get(name, 0), "only_b": won.get(name, 0),
         "p": mcnemar(lost.get(name, 0), won.get(name, 0))}
        for name in names[:FLIPS_SHOWN]
    ]  # fmt: skip


def _against_gold(both: pl.LazyFrame) -> dict[str, Any] | None:
    """Rows that only one output has right: McNemar's test tells whether the difference is more than chance."""
    scored = both.filter(pl.col("correct").is_not_null() & pl.col("correct_b").is_not_null())
    told = scored.select(
        pl.len().alias("rows"),
        pl.col("correct").sum().alias("right_a"),
        pl.col("correct_b").sum().alias("right_b"),
        (pl.col("correct") & ~pl.col("correct_b")).sum().alias("only_a"),
        (~pl.col("correct") & pl.col("correct_b")).sum().alias("only_b"),
    ).collect().row(0, named=True)  # fmt: skip
    return {**told, "p": mcnemar(told["only_a"], told["only_b"])} if told["rows"] else None


def flips_text(told: dict[str, Any]) -> list[str]:
    """The same as people read it."""
    share = told["flipped"] / told["in_both"] if told["in_both"] else 0.0
    lines = [f"labels: {told['flipped']:,} of {told['in_both']:,} flipped ({share:.1%})"]
    lines += [
        f"  {one['from']} -> {one['to']}: {one['rows']:,} (such as {', '.join(one['examples'])})"
        for one in told["flips"]
    ]
    lines += [
        f"  {one['label']}: {one['only_a']:,} only in A, {one['only_b']:,} only in B (McNemar p = {one['p']:.2g})"
        for one in told["by_label"]
    ]
    if (gold := told["gold"]) is not None:
        lines.append(
            f"right on {counted(gold['rows'], 'gold row')}: A {gold['right_a'] / gold['rows']:.1%}, "
            f"B {gold['right_b'] / gold['rows']:.1%}; {gold['only_a']:,} only A, {gold['only_b']:,} only B has right "
            f"(McNemar p = {gold['p']:.2g})"
        )
    return lines
