"""Fields: accuracy and agreement of an output's fields in words, for the summary and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.flows.text.numbers import interval, number, share
from rowmill.schemas.accuracy import Accuracy
from rowmill.schemas.display_text import Pairs, Table, counted
from rowmill.schemas.field_quality import FieldScores, GoldRows, ItemCounts, ItemScores, RowQuality, VotedRows
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.manifest import Manifest

FIELDS_SHOWN = 8
EXAMPLE_CHARS = 200


def field_lines(manifest: Manifest) -> list[str]:
    """Lines for the summary at a run's end: whole rows, then the worst fields."""
    told, fields = manifest.field_quality or RowQuality(), manifest.fields or {}
    lines = []
    if (votes := told.votes) is not None and votes.rows:
        lines += _votes_lines(votes, fields)
    if (gold := told.gold) is not None:
        lines.append(_rows_line(gold))
        judged = [(name, one) for name, one in fields.items() if one.accuracy is not None]
        wrong = [(name, one) for name, one in judged if one.right < one.rows]
        lines += [f"  {name}: {_share_of(one)}{_f1(one)}" for name, one in wrong[:FIELDS_SHOWN]]
        if len(wrong) > FIELDS_SHOWN:
            lines.append(f"  and {len(wrong) - FIELDS_SHOWN} more (run.json and report.html have all)")
        elif judged and not wrong:
            lines.append("  every field is right in every row")
        elif len(judged) > len(wrong):
            lines.append(f"  right in every row: {', '.join(name for name, _ in judged[len(wrong) :][:FIELDS_SHOWN])}")
    return lines


def _votes_lines(votes: VotedRows, fields: Mapping[str, FieldScores]) -> list[str]:
    alike = f", agreement {votes.agreement:.1%}" if votes.agreement is not None else ""
    escalated = f"; {counted(votes.escalated, 'row')} asked of the stronger model" if votes.escalated else ""
    lines = [f"votes: {votes.votes:,}, {number(votes.votes_a_row)} per row{alike}{escalated}"]
    if votes.to_review:
        worst = sorted((one.in_doubt, name) for name, one in fields.items() if one.in_doubt)[::-1][:FIELDS_SHOWN]
        named = ", ".join(f"{name} in {count:,}" for count, name in worst)
        lines.append(f"to review: {counted(votes.to_review, 'row')} with a field in doubt (review.jsonl): {named}")
    return lines


def _rows_line(gold: GoldRows) -> str:
    if not gold.rows:
        return f"gold: the column {gold.column!r} holds none in the rows that are settled"
    beside = [
        f"{count:,} {words}"
        for count, words in (
            (gold.not_ok, "not ok, which count as wrong"), (gold.malformed, "rows whose gold is no output"),
        )
        if count
    ]  # fmt: skip
    return f"against gold, rows right in every field: {_share_of(gold)}" + "".join(f"; {one}" for one in beside)


def _share_of(told: Accuracy) -> str:
    return f"{told.right:,} of {told.rows:,} ({share(told.accuracy)}, 95 % interval {interval(told)})"


def _f1(field: FieldScores) -> str:
    items = field.items
    return "" if items is None or items.f1 is None else f", items F1 {items.f1:.2f}"


def field_pairs(manifest: Manifest) -> Pairs:
    """Named figures for the report."""
    told = manifest.field_quality or RowQuality()
    pairs: Pairs = []
    if (votes := told.votes) is not None:
        pairs += [
            ("votes", f"{votes.votes:,}"),
            ("votes per row", number(votes.votes_a_row)),
            ("agreement of the votes", share(votes.agreement)),
            ("rows to review", f"{votes.to_review:,}"),
            ("rows asked of the stronger model", f"{votes.escalated:,}"),
        ]
    if (gold := told.gold) is not None:
        pairs += [
            ("gold rows", f"{gold.rows:,}"),
            ("right in every field", f"{gold.right:,}"),
            ("accuracy of rows", share(gold.accuracy)),
            ("95 % interval", interval(gold)),
            ("not ok (count as wrong)", f"{gold.not_ok:,}"),
            ("without gold", f"{gold.blank:,}"),
            ("gold that is no output", f"{gold.malformed:,}"),
        ]
    return pairs


def field_tables(manifest: Manifest) -> list[Table]:
    """Tables for the report: title, head and rows of each; the worst fields first."""
    fields = manifest.fields or {}
    judged = {name: one for name, one in fields.items() if one.accuracy is not None}
    tables: list[Table] = []
    voted = {name: one for name, one in fields.items() if one.agreement is not None}
    if voted:
        least = sorted(voted.items(), key=lambda one: one[1].agreement or 0.0)
        rows = [[name, share(one.agreement), f"{one.in_doubt:,}"] for name, one in least]
        tables.append(("Agreement of the votes, the least first", ["field", "agreement", "rows in doubt"], rows))
    if judged:
        head = ["field", "rows", "right", "accuracy", "95 % interval", "exact", "normalized", "numeric", "left out",
                "invented", "not ok"]  # fmt: skip
        tables.append(("Against gold, the worst first", head, [_gold_row(name, one) for name, one in judged.items()]))
    items = [row for name, one in judged.items() if one.items is not None for row in _item_rows(name, one.items)]
    if items:
        head = ["list", "items of gold", "items said", "right", "precision", "recall", "F1"]
        tables.append(("Items of lists, matched one to one", head, items))
    wrong = [
        [f"{name}, row {one.row_id}", _shown(one.gold), _shown(one.answer)]
        for name, field in judged.items()
        for one in field.examples
    ]
    if wrong:
        tables.append(("What went wrong, for example", ["field and row", "gold", "answer"], wrong))
    return tables


def _gold_row(name: str, one: FieldScores) -> list[str]:
    each = (one.exact, one.normalized, one.numeric, one.missed, one.invented, one.not_ok)
    counts = [f"{count:,}" for count in each]
    return [name, f"{one.rows:,}", f"{one.right:,}", share(one.accuracy), interval(one), *counts]


def _item_rows(name: str, items: ItemScores) -> list[list[str]]:
    each: list[tuple[str, ItemCounts]] = [(name, items), *items.fields.items()]
    return [
        [called, f"{one.gold:,}", f"{one.said:,}", f"{one.right:,}",
         number(one.precision), number(one.recall), number(one.f1)]
        for called, one in each
    ]  # fmt: skip


def _shown(value: Any) -> str:
    if value is None:
        return "(nothing)"
    text = value if isinstance(value, str) else encode_json(value).decode("utf-8", "replace")
    return text if len(text) <= EXAMPLE_CHARS else text[:EXAMPLE_CHARS] + "…"
