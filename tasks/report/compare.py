"""Compare: two outputs side by side, row by row by their ids: what changed, what it cost, how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from rowmill.schemas.display_text import one_line
from rowmill.schemas.price import usd
from rowmill.tasks.output.results_frame import scan_results
from rowmill.tasks.report.figures import shown
from rowmill.tasks.report.flips import flips, flips_text
from rowmill.tasks.report.inputs import compared_inputs, inputs_text

EXAMPLES = 5


def compared(before: Path, after: Path) -> dict[str, Any]:
    """Rows in both and in one, changes of status and of answers, with examples. The paths are `results` folders."""
    left, right = _rows(before), _rows(after)
    both = left.join(right, on="row_id", suffix="_b")
    counts = {
        "rows_a": _count(left), "rows_b": _count(right), "in_both": _count(both),
        "only_a": _count(left.join(right, on="row_id", how="anti")),
        "only_b": _count(right.join(left, on="row_id", how="anti")),
    }  # fmt: skip
    turned = both.filter(pl.col("status") != pl.col("status_b")).group_by("status", "status_b").agg(pl.len())
    answered = both.filter((pl.col("status") == "ok") & (pl.col("status_b") == "ok"))
    differs = pl.col("answer").ne_missing(pl.col("answer_b"))
    changed = answered.filter(differs)
    return {
        **counts,
        "inputs": compared_inputs(before.parent, after.parent),
        "status_changes": [
            {"from": row[0], "to": row[1], "rows": row[2]}
            for row in turned.sort("len", descending=True).collect().iter_rows()
        ],
        "answers_in_both": _count(answered),
        "answers_changed": _count(changed),
        "fields": _fields(before, after),
        "examples": [
            {"row_id": row[0], "a": shown(row[1], 200), "b": shown(row[2], 200)}
            for row in changed.select("row_id", "answer", "answer_b")
            .sort("row_id")
            .head(EXAMPLES)
            .collect()
            .iter_rows()
        ],
        "labels": flips(before, after),
        "a": _sums(left),
        "b": _sums(right),
    }


def _rows(results: Path) -> pl.LazyFrame:
    rows = scan_results(results)
    output = rows.collect_schema()["output"]
    answer = (
        pl.col("output").struct.json_encode() if isinstance(output, pl.Struct) else pl.col("output").cast(pl.String)
    )
    return rows.select(
        "row_id", "status", answer.alias("answer"), "cost_usd", "latency_ms", "input_tokens",
        (pl.col("output_tokens") + pl.col("thought_tokens")).alias("billed_output"),
    )  # fmt: skip


def _count(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect().item())


def _sums(rows: pl.LazyFrame) -> dict[str, Any]:
    told = rows.select(
        (pl.col("status") == "ok").sum().alias("ok"),
        # Summed as it is told, to the last digit, and only then a JSON number.
        pl.col("cost_usd").sum().cast(pl.Float64),
        pl.col("input_tokens").sum(),
        pl.col("billed_output").sum().alias("output_tokens"),
        pl.col("latency_ms").quantile(0.5).alias("p50_ms"),
        pl.col("latency_ms").quantile(0.95).alias("p95_ms"),
    )
    return told.collect().to_dicts()[0]


def _fields(before: Path, after: Path) -> list[dict[str, Any]]:
    """How often each field that both outputs have differs, where both rows are ok."""
    left, right = (scan_results(path) for path in (before, after))
    of_a, of_b = (rows.collect_schema()["output"] for rows in (left, right))
    if not (isinstance(of_a, pl.Struct) and isinstance(of_b, pl.Struct)):
        return []
    names = [part.name for part in of_a.fields if part.name in {other.name for other in of_b.fields}]
    ok = [rows.filter(pl.col("status") == "ok").select("row_id", "output") for rows in (left, right)]
    both = ok[0].join(ok[1], on="row_id", suffix="_b")
    told = both.select(
        pl.col("output").struct.field(name).ne_missing(pl.col("output_b").struct.field(name)).sum().alias(name)
        for name in names
    ).collect()
    return [{"field": name, "changed": told[name].item()} for name in names]


def compare_text(told: Mapping[str, Any]) -> str:
    """The comparison as people read it."""
    lines = [f"rows: {told['in_both']:,} in both, {told['only_a']:,} only in A, {told['only_b']:,} only in B"]
    lines += inputs_text(told["inputs"])
    share = told["answers_changed"] / told["answers_in_both"] if told["answers_in_both"] else 0.0
    lines.append(f"answers: {told['answers_changed']:,} of {told['answers_in_both']:,} changed ({share:.1%})")
    lines += [f"  {one['field']}: {one['changed']:,} changed" for one in told["fields"] if one["changed"]]
    if told["labels"] is not None:
        lines += flips_text(told["labels"])
    lines += [f"status: {one['rows']:,} from {one['from']} to {one['to']}" for one in told["status_changes"]]
    for name in ("a", "b"):
        side = told[name]
        lines.append(
            f"{name.upper()}: {side['ok']:,} ok, {usd(float(side['cost_usd'] or 0))}, "
            f"{side['input_tokens'] or 0:,} input and {side['output_tokens'] or 0:,} output tokens, "
            f"p50 {side['p50_ms'] or 0:,.0f} ms, p95 {side['p95_ms'] or 0:,.0f} ms"
        )
    for one in told["examples"]:
        lines += [f"{one['row_id']}:", f"  A {one['a']}", f"  B {one['b']}"]
    return "\n".join(map(one_line, lines))
