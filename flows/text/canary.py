"""Canary: what settled rows that were asked again say of the model, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.schemas.price import parse_amount, short_usd

Table = tuple[str, list[str], list[list[str]]]


def canary_line(canary: Mapping[str, Any]) -> str:
    """The canary in a line."""
    if not canary["rows"]:
        return f"canary: not asked, {canary['verdict']}"
    chance = canary["changed_by_chance"]
    beside = "" if chance is None else f", {chance:.1%} between two new askings"
    verdict = "the model has changed" if canary["verdict"] == "drift" else "the model is as it was"
    asked = f"{canary['rows']:,} rows asked again, {canary['changed']:.1%} of their answers differ"
    return f"canary: {verdict}: {asked}{beside}"


def canary_pairs(canary: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Its figures, for the report."""
    if not canary or not canary["rows"]:
        return []
    cost = canary["cost_usd"]
    pairs = [
        ("rows asked again", f"{canary['rows']:,}"),
        ("rows that changed", f"{canary['changed_rows']:,}"),
        ("share that changed", f"{canary['changed']:.1%}"),
        ("allowed beyond chance", f"{canary['drift']:.1%}"),
        ("calls", f"{canary['calls']:,}"),
        ("cost", "unknown" if cost is None else short_usd(parse_amount(cost))),
    ]
    if canary["changed_by_chance"] is not None:
        pairs[3:3] = [
            ("between two new askings", f"{canary['changed_by_chance']:.1%}"),
            ("95 % interval of the difference", f"{canary['low']:+.1%} to {canary['high']:+.1%}"),
            ("p", f"{canary['p_value']:.2g}"),
        ]
    return pairs


def canary_tables(canary: Mapping[str, Any] | None) -> list[Table]:
    """The rows whose answers changed, field by field."""
    rows = [
        [one["row_id"], field["field"], str(field["before"]), str(field["now"])]
        for one in (canary or {}).get("examples", [])
        for field in one["fields"]
    ]
    return [("Rows that changed", ["row", "field", "before", "now"], rows)] if rows else []
