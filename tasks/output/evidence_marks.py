"""Evidence marks: a source text cut into pieces, each with the evidence that stands there, for pages that show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rowmill.schemas.evidence import Match

# Characters around the first and the last quote that are shown, and in all.
AROUND_CHARS, SHOWN_CHARS = 200, 3_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text. `match` is how the quote stands there that covers it, None where none does."""

    text: str
    match: str | None = None
    fields: tuple[str, ...] = ()


def unsupported_first(evidence: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Entries of a row's evidence: those without support first, then those typeset differently."""
    order = {Match.NONE.value: 0, Match.NORMALIZED.value: 1, Match.EXACT.value: 2}
    return sorted(evidence, key=lambda one: order[one["match"]])


def marked(text: str, evidence: Iterable[Mapping[str, Any]], column: str) -> list[Piece]:
    """A column's text around its quotes, in pieces; nothing where no quote stands there, or not as it is told.

    Where quotes overlap a piece has the fields of all of them, and is exact only where all are.
    """
    spans = [one for one in evidence if one["column"] == column]
    if not spans or any(text[one["start"] : one["end"]] != one["quote"] for one in spans):
        return []
    first = max(0, min(one["start"] for one in spans) - AROUND_CHARS)
    last = min(len(text), max(one["end"] for one in spans) + AROUND_CHARS, first + SHOWN_CHARS)
    edges = {first, last, *(one[end] for one in spans for end in ("start", "end") if first < one[end] < last)}
    cuts = sorted(edges)
    pieces = [Piece("…")] if first else []
    for start, end in pairwise(cuts):
        here = [one for one in spans if one["start"] <= start and end <= one["end"]]
        match = None
        if here:
            exact = all(one["match"] == Match.EXACT for one in here)
            match = Match.EXACT.value if exact else Match.NORMALIZED.value
        pieces.append(Piece(text[start:end], match, tuple(one["field"] for one in here)))
    return [*pieces, Piece("…")] if last < len(text) else pieces
