"""Evidence: for each value of an answer the passage that it was read from, as it was found in the row's own text."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Match(StrEnum):
    """How a quote stands in its source: as it is, in another typographical form, or not at all."""

    EXACT = "exact"
    NORMALIZED = "normalized"
    NONE = "none"


class Span(msgspec.Struct, frozen=True):
    """Where a quote was found: `column`, code points [start, end) of that column's text, and the text between them."""

    column: str
    start: int
    end: int
    text: str
    match: Match


class FieldEvidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """The evidence of one value. `field` is a JSON pointer into `output`.

    `quote` is the source's own text where it was found there, else what the model quoted (None where it quoted
    nothing); `column`, `start` and `end` are None then. `value_in_quote` tells whether the quote holds the value, None
    where that cannot be decided.
    """

    field: str
    quote: str | None = None
    column: str | None = None
    start: int | None = None
    end: int | None = None
    match: Match = Match.NONE
    value_in_quote: bool | None = None


def evidence_value(one: FieldEvidence) -> dict[str, Any]:
    """One value's evidence as its column holds it."""
    return {
        "field": one.field, "quote": one.quote, "column": one.column, "start": one.start, "end": one.end,
        "match": one.match.value,
    }  # fmt: skip
