"""Evidence figures: how many values of each field have support, and some that have none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from rowmill.schemas.evidence import Match
from rowmill.schemas.output_schema import EXTRA
from rowmill.tasks.output.evidence_marks import Piece, marked, unsupported_first
from rowmill.tasks.output.part_footer import read_footer
from rowmill.tasks.output.prompts import Prompts
from rowmill.tasks.output.results_frame import result_parts

FIELDS_SHOWN, LACKING_SHOWN, ROWS_SHOWN = 60, 20, 8
QUOTE_CHARS = 200
# Characters of an entry beside its field and its quote.
FRAME_CHARS = 24


@dataclass(frozen=True, slots=True)
class FieldSupport:
    """Checked values of one field (`*` is each item of a list), of how many of the ok rows, by how their quotes stand.

    `held` and `not_held` count the values of which it could be decided whether their quote holds them.
    """

    name: str
    rows: int
    of: int
    values: int
    exact: int
    normalized: int
    none: int
    held: int
    not_held: int


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A row's own text with its quotes marked, and its evidence, what has no support first."""

    row_id: str
    evidence: Sequence[Mapping[str, Any]]
    columns: Sequence[tuple[str, Sequence[Piece]]]


@dataclass(frozen=True, slots=True)
class EvidenceFigures:
    """What the page shows of evidence. `lacking` are values without support: row, field, value and what was quoted."""

    fields: Sequence[FieldSupport] = ()
    lacking: Sequence[tuple[str, str, str, str]] = ()
    excerpts: Sequence[Excerpt] = ()
    # The part of the visible output tokens that quotes took, by characters.
    share: float = 0.0
    tokens: int = field(default=0)


def evidence_figures(results: Path, rows: pl.LazyFrame, prompts: Prompts | None) -> EvidenceFigures | None:
    """The figures of an output whose rows have evidence; None for any other."""
    if "evidence" not in rows.collect_schema().names():
        return None
    ok = rows.filter(pl.col("evidence").is_not_null())
    of = ok.select(pl.len()).collect().item()
    entries = (
        ok.select("row_id", "row_index", "output", "evidence", "value_in_quote")
        .filter(pl.col("evidence").list.len() > 0)
        .explode("evidence", "value_in_quote")
        .unnest("evidence")
        .with_columns(name=_pattern(pl.col("field")))
    )
    share, tokens = _share(ok)
    return EvidenceFigures(_fields(entries, of), _lacking(entries), _excerpts(results, ok, prompts), share, tokens)


def _pattern(name: pl.Expr) -> pl.Expr:
    """A pointer with a star in place of each item's number; twice, because a match takes the next one's slash."""
    once = name.str.replace_all(r"/[0-9]+(/|$)", "/*${1}")
    return once.str.replace_all(r"/[0-9]+(/|$)", "/*${1}")


def _fields(entries: pl.LazyFrame, of: int) -> list[FieldSupport]:
    told = (
        entries.group_by("name")
        .agg(
            pl.col("row_index").n_unique().alias("rows"),
            pl.len().alias("values"),
            *((pl.col("match") == match.value).sum().alias(match.value) for match in Match),
            pl.col("value_in_quote").sum().alias("held"),
            (~pl.col("value_in_quote")).sum().alias("not_held"),
        )
        .sort(pl.col("none") / pl.col("values"), pl.col("name"), descending=[True, False])
        .head(FIELDS_SHOWN)
        .collect()
    )
    return [FieldSupport(of=of, **row) for row in told.iter_rows(named=True)]


def _lacking(entries: pl.LazyFrame) -> list[tuple[str, str, str, str]]:
    wanted = entries.filter(pl.col("match") == Match.NONE.value)
    found = wanted.select("row_id", "field", "output", "quote").head(LACKING_SHOWN).collect()
    return [
        (row, name, shown_value(output, name)[:QUOTE_CHARS], (quote or "")[:QUOTE_CHARS])
        for row, name, output, quote in found.iter_rows()
    ]


def shown_value(output: Any, pointer: str) -> str:
    """What a JSON pointer leads to in an answer as its column holds it, as text, empty where there is none."""
    for step in pointer.split("/")[1:]:
        output = _part(output, step.replace("~1", "/").replace("~0", "~"))
    return output if isinstance(output, str) else "" if output is None else json.dumps(output, ensure_ascii=False)


def _part(whole: Any, step: str) -> Any:
    """A part of a value: of an object, a list, a map (pairs of key and value), or of the JSON text of one."""
    if isinstance(whole, str):
        try:
            whole = json.loads(whole)
        except ValueError:
            return None
    if isinstance(whole, dict):
        return whole[step] if step in whole else _part(whole.get(EXTRA), step) if whole.get(EXTRA) else None
    if not isinstance(whole, list):
        return None
    pairs = {one["key"]: one["value"] for one in whole if isinstance(one, dict) and one.keys() == {"key", "value"}}
    if step in pairs:
        return pairs[step]
    return whole[int(step)] if step.isdecimal() and int(step) < len(whole) else None


def _share(ok: pl.LazyFrame) -> tuple[float, int]:
    """The part of the answers' characters that quotes take, and as many of the output tokens."""
    one = pl.element().struct
    quoted = pl.col("evidence").list.eval(
        one.field("quote").str.len_chars().fill_null(0) + one.field("field").str.len_chars() + FRAME_CHARS
    )
    quotes, answers, tokens = (
        ok.select(
            quoted.list.sum().sum().alias("quotes"),
            pl.col("response_text").str.len_chars().sum().alias("answers"),
            pl.col("output_tokens").sum().alias("tokens"),
        )
        .collect()
        .row(0)
    )
    share = min(1.0, quotes / answers) if answers else 0.0
    return share, round(share * (tokens or 0))


def _excerpts(results: Path, ok: pl.LazyFrame, prompts: Prompts | None) -> list[Excerpt]:
    """Rows with their texts, those with values without support first; none where the input is not at hand."""
    if prompts is None or not prompts.is_quick:
        return []
    lacks = pl.col("evidence").list.eval(pl.element().struct.field("match") == Match.NONE.value).list.any()
    asked = ok.select("row_id", "row_index", "request_key", "evidence")
    some = pl.concat([asked.filter(lacks).head(ROWS_SHOWN), asked.filter(~lacks).head(ROWS_SHOWN)]).head(ROWS_SHOWN)
    rows = some.collect().to_dicts()
    found = []
    for part in result_parts(results):
        shard = read_footer(part).shard
        here = [row for row in rows if shard.first_row <= row["row_index"] <= shard.last_row]
        told = prompts.of(part, here) if here else {}
        for row in here:
            texts = told[row["row_index"]].sources.items()
            pieces = [(name, marked(text, row["evidence"], name)) for name, text in texts]
            shown = [(name, piece) for name, piece in pieces if piece]
            if shown or row["evidence"]:
                found.append(Excerpt(row["row_id"], unsupported_first(row["evidence"]), shown))
    order = {row["row_id"]: place for place, row in enumerate(rows)}
    return sorted(found, key=lambda one: order[one.row_id])
