"""Locator: the quotes of one answer → where they stand in the row's own texts.

A quote that stands there several times is placed beside its neighbours, in the order in which the answer tells its
fields: beside a quote of the same object where there is one, else behind the quote before it; equal quotes each have a
place of their own as long as there are enough. Nothing is guessed: a quote stands there or it does not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rowmill.schemas.evidence import Match, Span
from rowmill.tasks.answers.source_text import Place, SourceText

# A step back in the text weighs so many times a step on, and another line as many characters as a long one has.
BACKWARDS, LINE_CHARS = 2, 100
# Fields of one object that are looked at for a neighbour, to either side.
NEAR_MOST = 64


@dataclass(frozen=True, slots=True)
class Quoted:
    """A quote to look up, and the object of the answer that its field is of."""

    quote: str
    parent: str = ""


@dataclass(slots=True)
class _Found:
    """The places of one quote in the first column that has it, and which of them are taken."""

    column: str
    match: Match
    places: list[Place]
    # The next free place at or behind each one, and at or before it; a place that is not named is free.
    _on: dict[int, int] = field(default_factory=dict)
    _back: dict[int, int] = field(default_factory=dict)

    def take(self, at: int) -> None:
        self._on[at], self._back[at] = at + 1, at - 1

    def free_on(self, at: int) -> int | None:
        return self._free(at, self._on)

    def free_back(self, at: int) -> int | None:
        return self._free(at, self._back)

    def _free(self, at: int, steps: dict[int, int]) -> int | None:
        """Follow taken places to a free one, and shorten the way for the next time."""
        passed = []
        while at in steps:
            passed.append(at)
            at = steps[at]
        for one in passed:
            steps[one] = at
        return at if 0 <= at < len(self.places) else None


def locate(quotes: Sequence[Quoted], sources: Mapping[str, SourceText]) -> list[Span | None]:
    """Where each quote stands; None for one that stands nowhere. Quotes come in the order of the answer's fields."""
    return _Placing(quotes, sources).spans()


class _Placing:
    """The quotes of one answer on their way to their places: first those that stand once, then the others in turn."""

    def __init__(self, quotes: Sequence[Quoted], sources: Mapping[str, SourceText]) -> None:
        self._quotes, self._sources = quotes, sources
        self._found = {quote: self._look_up(quote) for quote in dict.fromkeys(one.quote for one in quotes)}
        self._chosen: list[tuple[str, Place] | None] = [self._only(one.quote) for one in quotes]
        # The last place of a quote before the one that is placed now, by column.
        self._last: dict[str, Place] = {}

    def spans(self) -> list[Span | None]:
        made: list[Span | None] = []
        for at, one in enumerate(self._quotes):
            found = self._found[one.quote]
            if found is None:
                made.append(None)
                continue
            if self._chosen[at] is None:
                self._chosen[at] = found.column, found.places[self._choice(found, at)]
            column, (start, end) = self._chosen[at] or (found.column, found.places[0])
            self._last[column] = start, end
            made.append(Span(column, start, end, self._sources[column].text[start:end], found.match))
        return made

    def _look_up(self, quote: str) -> _Found | None:
        """The first column that has the quote as it is, else the first that has it typeset differently; of either kind
        one where it cuts no word or number, if there is any.
        """
        found: dict[tuple[bool, bool], _Found] = {}
        for column, source in self._sources.items():
            match, places = source.places(quote)
            if match is Match.NONE:
                continue
            rank = match is not Match.EXACT, source.cuts_a_word(places[0])
            found.setdefault(rank, _Found(column, match, places))
            if rank == (False, False):
                break
        return found[min(found)] if found else None

    def _only(self, quote: str) -> tuple[str, Place] | None:
        found = self._found[quote]
        return (found.column, found.places[0]) if found is not None and len(found.places) == 1 else None

    def _choice(self, found: _Found, at: int) -> int:
        """Which of its places a quote is meant to have."""
        neighbours = self._neighbours(found.column, at)
        candidates = set() if neighbours else {found.free_on(0)}
        for (start, end), _ in neighbours:
            behind, before = bisect_left(found.places, (end,)), bisect_left(found.places, (start,))
            candidates |= {found.free_on(behind), found.free_on(before), found.free_back(behind - 1)}
        free = [candidate for candidate in candidates if candidate is not None]
        if not free:
            # More fields than places: they share one.
            nearest = neighbours[0][0][0] if neighbours else 0
            return min(bisect_left(found.places, (nearest,)), len(found.places) - 1)
        source = self._sources[found.column]
        best = min(free, key=lambda place: (_distance(found.places[place], neighbours, source), place))
        found.take(best)
        return best

    def _neighbours(self, column: str, at: int) -> list[tuple[Place, bool]]:
        """Places of the quotes before and behind this one in the answer, and whether each comes before.

        Those of the same object alone where it has any; else the last one that was placed, which the text goes on from.
        """
        before = self._nearest(column, at, -1)
        behind = self._nearest(column, at, 1)
        found = [(place, is_before) for place, is_before in ((before, True), (behind, False)) if place is not None]
        if not found and column in self._last:
            return [(self._last[column], True)]
        return found

    def _nearest(self, column: str, at: int, step: int) -> Place | None:
        parent = self._quotes[at].parent
        for _ in range(NEAR_MOST):
            at += step
            if not 0 <= at < len(self._quotes) or self._quotes[at].parent != parent:
                return None
            place = self._chosen[at]
            if place is not None and place[0] == column:
                return place[1]
        return None


def _distance(place: Place, neighbours: Sequence[tuple[Place, bool]], source: SourceText) -> int:
    """How far a place is from its neighbours, in characters. Another line, and the wrong order, count more."""
    total = 0
    for neighbour, is_before in neighbours:
        first, second = (neighbour, place) if is_before else (place, neighbour)
        on, back = second[0] - first[1], first[0] - second[1]
        total += on if on >= 0 else BACKWARDS * back + 1 if back >= 0 else 0
        total += LINE_CHARS * abs(source.line(place[0]) - source.line(neighbour[0]))
    return total
