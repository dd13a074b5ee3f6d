"""Report: the figures of a run, from its parts and its manifest. Streamed: the rows are never all in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.tasks.output.part_footer import read_footer
from rowmill.tasks.output.prompts import Prompts
from rowmill.tasks.output.python_values import python_rows
from rowmill.tasks.output.results_frame import part_schema, readable, result_parts, scan_results
from rowmill.tasks.report.evidence_figures import EvidenceFigures, evidence_figures

SAMPLES = 12
FAILED_SAMPLES = 3
VALUES_SHOWN = 8
FIELDS_SHOWN = 40
BINS = 40
SHOWN_CHARS = 600
# A run longer than this is told in minutes.
LONG_S = 180


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of rows between edges; one edge more than there are counts."""

    edges: list[float]
    counts: list[int]
    middle: float
    p95: float


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the output: how many ok rows hold it, and what they hold."""

    name: str
    filled: int
    of: int
    values: list[tuple[str, int]]
    span: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A kind of error with its rows: how many, and some with their words."""

    kind: str
    rows: int
    samples: list[tuple[str, str]]


@dataclass(slots=True)
class Figures:
    """Everything the page shows beside the manifest."""

    rows: int = 0
    times: list[float] = field(default_factory=list)
    time_unit: str = "seconds"
    cost_usd: list[float] = field(default_factory=list)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    evidence: EvidenceFigures | None = None


def figures(results: Path, prompts: Prompts | None = None) -> Figures:
    """The figures of an output's parts. Empty where there is none. Sample rows show their prompts where told."""
    if not result_parts(results):
        return Figures()
    rows = scan_results(results)
    names = rows.collect_schema().names()
    found = Figures(rows=rows.select(pl.len()).collect().item())
    found.keep = names[2 : names.index("status")]
    _over_time(rows, found)
    for name, column in (("input tokens", "input_tokens"), ("output tokens", "output_tokens"),
                         ("seconds", "latency_ms"), ("calls", "attempts")):  # fmt: skip
        if (histogram := _histogram(rows, column, 1_000 if name == "seconds" else 1)) is not None:
            found.histograms[name] = histogram
    found.failures = _failures(rows)
    found.fields = _fields(rows)
    found.evidence = evidence_figures(results, rows, prompts)
    found.samples = _samples(results, rows, found, prompts=prompts)
    return found


def _over_time(rows: pl.LazyFrame, found: Figures) -> None:
    """Cumulative cost, in a hundred steps from the first call to the last answer."""
    span = rows.select(pl.col("started_at").min().alias("first"), pl.col("finished_at").max().alias("last")).collect()
    first, last = span.row(0)
    if first is None or last is None:
        return
    step = max((last - first).total_seconds() / 100, 1e-3)

    cost = pl.col("cost_usd").cast(pl.Float64).fill_null(0.0).sum()
    at_end: pl.Expr = (pl.col("finished_at") - first).dt.total_microseconds() / 1e6 / step
    ended = rows.filter(pl.col("finished_at").is_not_null()).group_by(at_end.floor().cast(pl.Int64)).agg(cost)
    spent = dict(ended.collect().iter_rows())
    total = 0.0
    found.time_unit, unit = ("minutes", 60) if step * 100 > LONG_S else ("seconds", 1)
    for at in range(max(spent) + 1):
        total += spent.get(at, 0.0)
        found.times.append((at + 1) * step / unit)
        found.cost_usd.append(total)


def _histogram(rows: pl.LazyFrame, column: str, unit: int) -> Histogram | None:
    values = rows.select(pl.col(column).cast(pl.Float64) / unit).filter(pl.col(column) > 0)
    told = values.select(
        pl.col(column).max().alias("most"),
        pl.col(column).quantile(0.5).alias("middle"),
        pl.col(column).quantile(0.95).alias("p95"),
    ).collect().row(0)  # fmt: skip
    most, middle, p95 = told
    if most is None:
        return None
    width = most / BINS
    counted = dict(
        values.group_by((pl.col(column) / width).floor().clip(0, BINS - 1).cast(pl.Int64))
        .agg(pl.len())
        .collect()
        .iter_rows()
    )
    edges = [width * at for at in range(BINS + 1)]
    return Histogram(edges, [counted.get(at, 0) for at in range(BINS)], middle, p95)


def _failures(rows: pl.LazyFrame) -> list[Failure]:
    told = (
        rows.filter(pl.col("error_kind").is_not_null())
        .group_by("error_kind")
        .agg(
            pl.len().alias("rows"), pl.col("row_id").head(FAILED_SAMPLES), pl.col("error_message").head(FAILED_SAMPLES)
        )
        .sort("rows", descending=True)
        .collect()
    )
    return [
        Failure(row["error_kind"], row["rows"],
                [(name, shown(words)) for name, words in zip(row["row_id"], row["error_message"], strict=True)])
        for row in told.iter_rows(named=True)
    ]  # fmt: skip


def _fields(rows: pl.LazyFrame) -> list[Field]:
    """Fill rates and values of the output's fields; of nested ones only how often they are there."""
    ok = rows.filter(pl.col("status") == "ok")
    kind = rows.collect_schema()["output"]
    of = ok.select(pl.len()).collect().item()
    if not of or not isinstance(kind, pl.Struct):
        return []
    found = []
    for part in kind.fields[:FIELDS_SHOWN]:
        column = ok.select(pl.col("output").struct.field(part.name).alias("v"))
        filled = column.select(_says_something(part.dtype).sum()).collect().item()
        values: list[tuple[str, int]] = []
        span = None
        if part.dtype.is_numeric():
            low, middle, high = column.select(
                pl.col("v").min().alias("a"), pl.col("v").median().alias("b"), pl.col("v").max().alias("c")
            ).collect().row(0)  # fmt: skip
            span = None if low is None else (float(low), float(middle), float(high))
        elif part.dtype in (pl.String, pl.Boolean):
            top = (
                column.drop_nulls()
                .group_by("v")
                .agg(pl.len())
                .sort("len", descending=True)
                .head(VALUES_SHOWN)
                .collect()
            )
            values = [(shown(str(value), 80), count) for value, count in top.iter_rows()]
        found.append(Field(part.name, filled, of, values, span))
    return found


def _says_something(kind: Any) -> pl.Expr:
    """Null, blank text and an empty list are one answer, here as in the history and in gold."""
    value = pl.col("v")
    if kind == pl.String:
        return (value.str.strip_chars().str.len_chars() > 0).fill_null(False)
    return (value.list.len() > 0).fill_null(False) if isinstance(kind, pl.List) else value.is_not_null()


def _samples(results: Path, rows: pl.LazyFrame, found: Figures, *, prompts: Prompts | None) -> list[dict[str, Any]]:
    """Some rows from everywhere: what was asked and kept of them, beside what came out."""
    every = max(1, found.rows // SAMPLES)
    told = ["status", "response_text", "error_message", "cost_usd"]
    sampled = rows.select("row_id", "row_index", "request_key", *told)
    sampled_rows = sampled.gather_every(every).head(SAMPLES).collect().to_dicts()
    kept = _kept(results, [row["row_index"] for row in sampled_rows], found.keep)
    asked = _prompts(results, sampled_rows, prompts)
    return [
        {"row_id": _cell(row["row_id"]), **{name: _cell(value) for name, value in kept[row["row_index"]].items()},
         "prompt": shown(asked.get(row["row_index"])),
         **{name: _cell(row[name]) for name in told}}
        for row in sampled_rows
    ]  # fmt: skip


def _kept(results: Path, places: list[int], names: list[str]) -> dict[int, dict[str, Any]]:
    """The kept columns of rows, by their places; null where a part has no such column."""
    found: dict[int, dict[str, Any]] = {}
    for part in result_parts(results):
        shard = read_footer(part).shard
        if any(shard.first_row <= place <= shard.last_row for place in places):
            known = set(part_schema(part).names)
            there = [name for name in names if name in known]
            with readable(part):
                some = pq.read_table(part, columns=["row_index", *there], filters=pc.field("row_index").isin(places))
            for row in python_rows(some):
                found[row["row_index"]] = {name: row.get(name) for name in names}
    return found


def _prompts(results: Path, sampled: list[dict[str, Any]], prompts: Prompts | None) -> dict[int, str | None]:
    """Prompts of sampled rows by row_index; none where the input is not at hand."""
    found: dict[int, str | None] = {}
    if prompts is None or not prompts.is_quick:
        return found
    for part in result_parts(results):
        shard = read_footer(part).shard
        some = [row for row in sampled if shard.first_row <= row["row_index"] <= shard.last_row]
        if some:
            found |= {index: prompt.text or prompt.note for index, prompt in prompts.of(part, some).items()}
    return found


def _cell(value: Any) -> str:
    return "" if value is None else shown(str(value))


def shown(text: str | None, most: int = SHOWN_CHARS) -> str:
    """A text cut to what a page can hold."""
    text = text or ""
    return text if len(text) <= most else text[:most] + "…"
