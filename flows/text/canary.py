"""Canary: what settled rows that were asked again say of the model, for people."""

from __future__ import annotations

from rowmill.flows.text.numbers import share
from rowmill.schemas.canary import DRIFT, CanaryReport
from rowmill.schemas.display_text import Pairs, Table, counted
from rowmill.schemas.price import parse_amount, short_usd


def canary_line(canary: CanaryReport) -> str:
    """The canary in a line."""
    if not canary.rows:
        return f"canary: not asked, {canary.verdict}"
    chance = canary.changed_by_chance
    beside = "" if chance is None else f", {chance:.1%} between two new askings"
    verdict = "the model has changed" if canary.verdict == DRIFT else "the model is as it was"
    asked = f"{counted(canary.rows, 'row')} asked again, {share(canary.changed)} of their answers differ"
    return f"canary: {verdict}: {asked}{beside}"


def canary_pairs(canary: CanaryReport | None) -> Pairs:
    """Its figures, for the report."""
    if canary is None or not canary.rows:
        return []
    cost = canary.cost_usd
    pairs = [
        ("rows asked again", f"{canary.rows:,}"),
        ("rows that changed", f"{canary.changed_rows:,}"),
        ("share that changed", share(canary.changed)),
        ("allowed beyond chance", share(canary.drift)),
        ("calls", f"{canary.calls:,}"),
        ("cost", "unknown" if cost is None else short_usd(parse_amount(cost))),
    ]
    low, high, p_value = canary.low, canary.high, canary.p_value
    if low is not None and high is not None and p_value is not None:
        pairs[3:3] = [
            ("between two new askings", share(canary.changed_by_chance)),
            ("95 % interval of the difference", f"{low:+.1%} to {high:+.1%}"),
            ("p", f"{p_value:.2g}"),
        ]
    return pairs


def canary_tables(canary: CanaryReport | None) -> list[Table]:
    """The rows whose answers changed, field by field."""
    rows = [
        [one.row_id, field.field, str(field.before), str(field.now)]
        for one in (canary.examples if canary is not None else ())
        for field in one.fields
    ]
    return [("Rows that changed", ["row", "field", "before", "now"], rows)] if rows else []
