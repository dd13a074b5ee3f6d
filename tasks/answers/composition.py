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
from typing import Any, NamedTuple

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

# What is packed of each code point: its order among marks, its column, its row.
_ORDER, _COLUMN, _ROW = 0xFF, 8, 16
_COLUMNS = 0xFF << _COLUMN

Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Packed = npt.NDArray[np.unsignedinteger[Any]]


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
    if not len(marks):
        return Composed(marks, points[:0], marks, headless)
    known = _pairs()
    facts = known.facts.take(points.take(marks), mode="clip")
    moves = _moves(facts, known.facts.take(points.take(marks - 1), mode="clip"))
    if not moves.any():
        return Composed(marks[:0], points[:0], marks[:0], headless)
    runs = _Runs.of(marks)
    letters = marks.take(runs.starts) - 1
    rows = known.facts.take(points.take(letters), mode="clip") >> _ROW
    columns = (facts & _COLUMNS) >> _COLUMN
    forms = known.form(rows, columns.take(runs.starts))
    merges = (forms > _UNTOLD) & runs.single
    stays = ~np.logical_or.reduceat(moves, runs.starts) | ((forms == _STAYS) & runs.single)
    going = ((forms > _UNTOLD) & ~(runs.single | stays) & (runs.counts <= _MARKS_MOST)).nonzero()[0]
    for step in range(1, _MARKS_MOST):
        if not len(going):
            break
        found = known.form(known.facts.take(forms.take(going)) >> _ROW, columns.take(runs.starts.take(going) + step))
        hit = (found > _UNTOLD).nonzero()[0]
        going = going.take(hit)
        forms[going] = found.take(hit)
        merges[going] = ends = runs.counts.take(going) == step + 1
        going = going.take((~ends).nonzero()[0])
    at = merges.nonzero()[0]
    told = merges | stays
    untold = headless if told.all() else np.concatenate((headless, marks[runs.each(~told)]))
    return Composed(letters.take(at), forms.take(at), marks[runs.each(merges)], untold)


class _Runs(NamedTuple):
    """Marks that stand side by side: where among the marks each run begins, its length, and whether it is one mark."""

    starts: Places
    counts: Places
    single: Flags

    @classmethod
    def of(cls, marks: Places) -> _Runs:
        begins = np.empty(len(marks), np.bool_)
        begins[0] = True
        np.not_equal(marks[1:] - marks[:-1], 1, out=begins[1:])
        starts = begins.nonzero()[0]
        counts = np.empty_like(starts)
        np.subtract(starts[1:], starts[:-1], out=counts[:-1])
        counts[-1] = len(marks) - starts[-1]
        return cls(starts, counts, counts == 1)

    def each(self, of_runs: Flags) -> Flags:
        """Of each mark what is true of its run."""
        return of_runs.repeat(self.counts)


def _moves(facts: Packed, before: Packed) -> Flags:
    """Of each mark, whether it may compose with its letter or change places with what stands before it; where no mark
    of a letter does, all stay (UAX #15, 9.1).
    """
    composes = facts & _COLUMNS > 0
    if composes.all():
        return composes
    orders = facts & _ORDER
    moved: Flags = composes | ((orders < before & _ORDER) & (orders > 0))
    return moved


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Of each code point its row as a letter, its column as a mark and its canonical order; what each pair becomes."""

    facts: Packed
    _table: Packed

    def form(self, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> Packed:
        """What becomes of letters and marks."""
        formed: Packed = self._table.ravel().take(rows * self._table.shape[1] + columns)
        return formed


@lru_cache(1)
def _pairs() -> _Pairs:
    """Worked out when first needed, in 0.03 s."""
    composites = [*_composites(), *_syllables()]
    rows = {point: row for row, point in enumerate(sorted({letter for letter, _, _ in composites}), _NAMED)}
    columns = {point: column for column, point in enumerate(sorted({mark for _, mark, _ in composites}), _NAMED)}
    table = np.zeros((_NAMED + len(rows), _NAMED + len(columns)), np.uint32)
    table[_UNKNOWN], table[:, _UNKNOWN] = _UNTOLD, _UNTOLD
    facts = np.fromiter((unicodedata.combining(chr(point)) for point in range(_PLANE)), np.uint32, _PLANE)
    facts[facts > 0] |= _UNKNOWN << _ROW
    for point in chain(*_DECOMPOSED):
        char = chr(point)
        if not unicodedata.decomposition(char):
            continue
        # Its own marks may change places with another, or make room for it.
        if point in rows:
            table[rows[point]] = _UNTOLD
        form = unicodedata.normalize("NFKC", char)
        facts[point] = _UNKNOWN << _ROW | unicodedata.combining(form[-1])
        if form != char:
            facts[point] |= _UNKNOWN << _COLUMN
    facts[_BEYOND] = _UNKNOWN << _ROW | _UNKNOWN << _COLUMN | _ORDER
    for point, row in rows.items():
        facts[point] = facts[point] & 0xFFFF | row << _ROW
    for point, column in columns.items():
        facts[point] |= column << _COLUMN
    for letter, mark, composite in composites:
        table[rows[letter], columns[mark]] = composite
    return _Pairs(facts, table)


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
