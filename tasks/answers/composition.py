"""Composition: letters that become one character with the marks behind them, looked up in a table, all at once.

A letter may be normalized mark by mark: its form with two marks is that of the second behind its form with the first.
Pairs that become one character stand in the table, as Python's own Unicode has them. Whatever else may come of a letter
and its marks is left to `unicodedata`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rowmill.tasks.answers.normal_form import Points

# The table has the basic plane; all that is beyond it stands for what the table does not know.
_PLANE, _BEYOND = 0x10000, 0xFFFF
# What a pair becomes where it is no one character: it stays as it is, or `unicodedata` has to say.
_STAYS, _UNTOLD = 0, 1
# Rows of letters and columns of marks: none (0) for those that never compose, one for those that do in other ways than
# as pairs, then those of the pairs.
_UNKNOWN, _NAMED = 1, 2
# Where characters stand that are made of others. Syllables of Hangul are composed by rule.
_DECOMPOSED = (range(0xA0, 0x3400), range(0xA000, 0xAC00), range(0xF900, 0xFFFF))
_LEADS, _VOWELS, _FINALS, _SYLLABLES = range(0x1100, 0x1113), range(0x1161, 0x1176), range(0x11A7, 0x11C3), 0xAC00
# No letter becomes one character with more marks.
_MARKS_MOST = 3

Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


class Composed(NamedTuple):
    """What becomes of a text's letters with marks, by their places."""

    # Letters that become another character with all their marks, that character, and those marks.
    letters: Places
    forms: Points
    merged: Places
    # Marks that `unicodedata` has to say of what they become; all others stay as they are.
    untold: Places


def composed(points: Points, marks: Places) -> Composed:
    """Compose a text's characters. `marks` are those, ascending, that may become one with what stands before them."""
    # Marks that a text begins with have no letter.
    headless = marks[marks == np.arange(len(marks))] if len(marks) and marks[0] == 0 else marks[:0]
    marks = marks[len(headless) :]
    known = _pairs()
    columns = known.columns.take(points.take(marks), mode="clip")
    all_compose = bool(columns.all())
    moves = columns > 0 if all_compose else known.moves(points, marks, columns)
    if not moves.any():
        return Composed(marks[:0], points[:0], marks[:0], headless)
    runs = _Runs.of(marks)
    letters = marks.take(runs.starts) - 1
    forms = known.forms(points.take(letters), columns.take(runs.starts))
    for step in range(1, _MARKS_MOST):
        longer = (runs.counts > step).nonzero()[0]
        if not len(longer):
            break
        forms[longer] = known.forms(forms.take(longer), columns.take(runs.starts.take(longer) + step))
    else:
        forms[runs.counts > _MARKS_MOST] = _UNTOLD
    merges = forms > _UNTOLD
    if merges.all():
        return Composed(letters, forms, marks, headless)
    stays = (forms == _STAYS) & (runs.counts == 1)
    if not all_compose:
        stays |= ~np.logical_or.reduceat(moves, runs.starts)
    untold = np.concatenate((headless, marks[runs.each(~(merges | stays))]))
    return Composed(letters[merges], forms[merges], marks[runs.each(merges)], untold)


class _Runs(NamedTuple):
    """Marks that stand side by side: where among the marks each run begins, and its length."""

    starts: Places
    counts: Places

    @classmethod
    def of(cls, marks: Places) -> _Runs:
        begins = np.empty(len(marks) + 1, np.bool_)
        begins[0] = begins[-1] = True
        np.not_equal(marks[1:] - marks[:-1], 1, out=begins[1:-1])
        bounds = begins.nonzero()[0]
        return cls(bounds[:-1], bounds[1:] - bounds[:-1])

    def each(self, of_runs: Flags) -> Flags:
        """Of each mark what is true of its run."""
        return of_runs.repeat(self.counts)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """What becomes of each letter and mark: of each code point where its row begins in the table, as a letter, and its
    column, as a mark. `_orders` are the canonical ones.
    """

    columns: Places
    _rows: Places
    _orders: npt.NDArray[np.uint8]
    _table: Points

    def forms(self, letters: Points, columns: Places) -> Points:
        """What becomes of letters with the marks of these columns. Of what is no letter any more nothing is told."""
        return self._table.take(self._rows.take(letters, mode="clip") + columns)

    def moves(self, points: Points, marks: Places, columns: Places) -> Flags:
        """Of each mark, whether it may compose with its letter or change places with what stands before it; where no
        mark of a letter does, all stay (UAX #15, 9.1).
        """
        orders, before = (self._orders.take(points.take(at), mode="clip") for at in (marks, marks - 1))
        moved: Flags = (columns > 0) | ((orders < before) & (orders > 0))
        return moved


@lru_cache(1)
def _pairs() -> _Pairs:
    """Worked out when first needed, in 0.03 s."""
    composites = [*_composites(), *_syllables()]
    row_of = {point: row for row, point in enumerate(sorted({letter for letter, _, _ in composites}), _NAMED)}
    column_of = {point: column for column, point in enumerate(sorted({mark for _, mark, _ in composites}), _NAMED)}
    table = np.full((_NAMED + len(row_of), _NAMED + len(column_of)), _STAYS, np.uint32)
    table[_UNKNOWN], table[:, _UNKNOWN] = _UNTOLD, _UNTOLD
    orders = np.fromiter((unicodedata.combining(chr(point)) for point in range(_PLANE)), np.uint8, _PLANE)
    rows, columns = np.where(orders > 0, _UNKNOWN, 0), np.zeros(_PLANE, np.intp)
    for point in chain(*_DECOMPOSED):
        char = chr(point)
        if not unicodedata.decomposition(char):
            continue
        # Its own marks may change places with another, or make room for it.
        if point in row_of:
            table[row_of[point]] = _UNTOLD
        form = unicodedata.normalize("NFKC", char)
        rows[point], orders[point] = _UNKNOWN, unicodedata.combining(form[-1])
        if form != char:
            columns[point] = _UNKNOWN
    rows[[_STAYS, _UNTOLD, _BEYOND]] = columns[_BEYOND] = _UNKNOWN
    orders[_BEYOND] = np.iinfo(orders.dtype).max
    rows[list(row_of)], columns[list(column_of)] = list(row_of.values()), list(column_of.values())
    for letter, mark, composite in composites:
        table[row_of[letter], column_of[mark]] = composite
    return _Pairs(columns, rows * table.shape[1], orders, table.ravel())


def _composites() -> Iterator[tuple[int, int, int]]:
    """Letter, mark and the character that they become."""
    for point in chain(*_DECOMPOSED):
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (int(part, 16) for part in parts)
            if unicodedata.normalize("NFKC", chr(first) + chr(second)) == chr(point):
                yield first, second, point


def _syllables() -> Iterator[tuple[int, int, int]]:
    """The same of Hangul: a consonant and a vowel, and both with a consonant behind them."""
    size = len(_FINALS)
    for at, (lead, vowel) in enumerate((lead, vowel) for lead in _LEADS for vowel in _VOWELS):
        open_syllable = _SYLLABLES + at * size
        yield lead, vowel, open_syllable
        for final in range(1, size):
            yield open_syllable, _FINALS[final], open_syllable + final
