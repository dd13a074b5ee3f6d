"""Accuracy and agreement of fields as people read them."""

from __future__ import annotations

from typing import Any

import msgspec

from rowmill.flows.text.fields import field_lines, field_pairs, field_tables
from rowmill.schemas.manifest import Manifest


def field(right: int, **more: Any) -> dict[str, Any]:
    return {
        "pointer": "/x", "rows": 10, "right": right, "accuracy": right / 10, "low": 0.1, "high": 0.9, "exact": right,
        "normalized": 0, "numeric": 0, "not_ok": 1, "missed": 0, "invented": 0, "items": None, "agreement": None,
        "in_doubt": None, "examples": [], **more,
    }  # fmt: skip


def manifest(fields: dict[str, Any] | None, quality: dict[str, Any] | None) -> Manifest:
    """As run.json tells it."""
    return msgspec.convert({"fields": fields, "field_quality": quality}, Manifest)


GOLD = {"column": "truth", "rows": 10, "right": 5, "accuracy": 0.5, "low": 0.2, "high": 0.8, "not_ok": 1, "blank": 2,
        "malformed": 1, "malformed_rows": []}  # fmt: skip
VOTES = {"rows": 10, "votes": 25, "votes_a_row": 2.5, "agreement": 0.9, "escalated": 3, "to_review": 2}


def test_the_worst_fields_are_named_first_and_rows_that_are_not_ok_are_told():
    """Whole rows, what counts as wrong, the fields that are ever wrong with their intervals, then those that never are."""
    fields = {"lines": field(5, items={"f1": 0.5}), "name": field(7), "n": field(10)}
    told = "\n".join(field_lines(manifest(fields, {"gold": GOLD, "votes": None})))
    assert "5 of 10 (50.0%, 95 % interval 20.0% to 80.0%); 1 not ok, which count as wrong" in told
    assert told.index("lines: 5 of 10") < told.index("name: 7 of 10")
    assert "items F1 0.50" in told
    assert "right in every row: n" in told
    many = {f"f{n}": field(3) for n in range(12)}
    assert "and 4 more" in "\n".join(field_lines(manifest(many, {"gold": GOLD, "votes": None})))


def test_votes_are_told_with_the_fields_in_doubt():
    """How many a row took, how far they agree, and which fields send rows to review, the most frequent first."""
    fields = {"a": field(10, agreement=0.8, in_doubt=1), "b": field(10, agreement=0.7, in_doubt=2)}
    scored = manifest(fields, {"gold": None, "votes": VOTES})
    told = "\n".join(field_lines(scored))
    assert "votes: 25, 2.50 per row, agreement 90.0%; 3 rows asked of the stronger model" in told
    assert "to review: 2 rows with a field in doubt (review.jsonl): b in 2, a in 1" in told
    assert ("votes per row", "2.50") in field_pairs(scored)
    assert field_tables(scored)[0][2] == [["b", "70.0%", "2"], ["a", "80.0%", "1"]]


def test_outputs_without_gold_or_votes_tell_nothing():
    """Also those of a version before fields were scored."""
    for bare in (Manifest(), manifest(None, None)):
        assert field_lines(bare) == field_pairs(bare) == field_tables(bare) == []
    empty = {**GOLD, "rows": 0, "right": 0, "accuracy": None, "low": None, "high": None}
    assert "holds none" in field_lines(manifest({}, {"gold": empty, "votes": None}))[0]
    assert ("95 % interval", "–") in field_pairs(manifest({}, {"gold": empty}))
