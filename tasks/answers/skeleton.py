"""Skeleton: a text without all that its typesetting makes, and where each of its characters comes from.

Without white space, quotation marks, hyphens and invisible characters, in NFKC. Equal passages have equal skeletons;
the converse is for `same_passage` to decide. Characters that become one other character are looked up all at once, and
letters that become one with their marks; the few others are worked out.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import numpy.typing as npt

from rowmill.tasks.answers.composition import composed
from rowmill.tasks.answers.normal_form import MARKS_MOST, SHORT_CHARS, Points, code_points, text_of
from rowmill.tasks.answers.quote_form import is_dropped, without_dropped

# Where NFKC changes characters: the rest of the planes is letters that it leaves alone.
_CHANGED_PLANES = (range(0xA0, 0x3400), range(0xA000, 0xAC00), range(0xD7B0, 0xD800), range(0xF900, 0x12000),
                   range(0x16000, 0x17000), range(0x1B000, 0x1FC00), range(0x2F800, 0x2FA20),
                   range(0xE0000, 0xE0200))  # fmt: skip
# Vowels and finals of Hangul, of which some are written as letters of their own; halfwidth voicing marks.
_JOINING_LETTERS = (range(0x1160, 0x1200), range(0x3131, 0x318F), range(0xD7B0, 0xD7FC), range(0xFFA0, 0xFFDD),
                    range(0xFF9E, 0xFFA0))  # fmt: skip
# What the table says of a code point in place of another: nothing is left of it, it joins what stands before it, it
# becomes several.
_DROPPED, _JOINS, _EXPANDS = 1 << 21, 1 << 22, 1 << 23
_POINT = np.uint32(_DROPPED - 1)
# What stands between clusters while they are normalized, and what NFKC makes of accents that stand alone.
_NEW_LINE, _BLANK = 0x0A, 0x20

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """`text`, and the places in the source of what it was made of."""

    text: str
    # The characters of the source that are left; of them those that are no mark of the one before, where some are; and
    # those of these that were not taken one by one.
    _kept: Places
    _letters: Places | None = None
    _clusters: _Clusters | None = None

    @classmethod
    def of(cls, source: str) -> Skeleton:
        """Linear in the source."""
        points = code_points(source)
        mapped = _table(bool(points.size) and int(points.max()) > 0xFFFF).take(points)
        kept = (mapped != _DROPPED).nonzero()[0]
        left = mapped.take(kept)
        top = left.max(initial=0)
        if top < _DROPPED:
            return cls(text_of(left), kept)
        left, letters = _with_composed(left, top >= _EXPANDS)
        top = left.max()
        if top < _DROPPED:
            return cls(text_of(left), kept, letters)
        clusters = _Clusters.among(left) if (left & _JOINS).any() else _Clusters.expanded(left)
        bare = left & _POINT
        return cls(text_of(bare) if clusters is None else clusters.text(bare), kept, letters, clusters)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Characters [start, end) of the skeleton as code points of the source."""
        first, last = start, end - 1
        if self._clusters is not None:
            first, last = self._clusters.first_of(first), self._clusters.last_of(last)
        if self._letters is not None:
            behind = self._letters[last + 1] if last + 1 < len(self._letters) else len(self._kept)
            first, last = self._letters[first], behind - 1
        return int(self._kept[first]), int(self._kept[last]) + 1


def skeleton(text: str) -> str:
    """The skeleton's text alone. That of a short text is made by the rule itself, which is quicker there."""
    if len(text) > SHORT_CHARS:
        return Skeleton.of(text).text
    return "".join(unicodedata.normalize("NFKC", without_dropped("".join(text.split()))).split())


def _with_composed(left: Points, expands: bool) -> tuple[Points, Places | None]:
    """The characters left once letters are composed with their marks, and the places of those that are no such mark.

    What is then told to join or to expand is still to be worked out. `expands` where one is told to expand.
    """
    marks = (left & _JOINS if expands else left >= _JOINS).nonzero()[0]
    if not len(marks):
        return left, None
    bare = left & _POINT
    found = composed(bare, marks)
    if expands:
        bare |= left & _EXPANDS
    if len(found.untold):
        bare[found.untold] |= _JOINS
    if not len(found.letters):
        return bare, None
    bare[found.letters] = found.forms
    stays = np.ones(len(bare), dtype=np.bool_)
    stays[found.merged] = False
    letters = stays.nonzero()[0]
    return bare.take(letters), letters


class _Clusters:
    """Characters that become others, each with those that become one with it."""

    def __init__(self, members: Places, sizes: Places, letters: Points, *, lengths: Places) -> None:
        """`members` of all clusters are places among the characters left, `sizes` their numbers in each. They become
        `letters`, `lengths` of each.
        """
        self._members, self._letters, self._lengths = members, letters, lengths
        self._firsts = np.cumsum(sizes) - sizes
        # Where in the text the form of each character left ends.
        self._ends = members

    @classmethod
    def expanded(cls, left: Points) -> _Clusters:
        """Those of the characters left that become several, where none is joined by what stands behind it."""
        members = (left > _DROPPED).nonzero()[0]
        known = _expansions()
        which = known.points.searchsorted(left.take(members) & _POINT)
        lengths = known.lengths.take(which)
        behind = np.cumsum(lengths)
        letters = known.starts.take(which).repeat(lengths) + np.arange(behind[-1]) - (behind - lengths).repeat(lengths)
        return cls(members, np.ones_like(members), known.letters.take(letters), lengths=lengths)

    @classmethod
    def among(cls, left: Points) -> _Clusters | None:
        """Those of the characters left that NFKC changes; None where all are as it makes them."""
        joins, inside = (left & _JOINS) > 0, left > _DROPPED
        inside[:-1] |= joins[1:]
        members = np.flatnonzero(inside)
        begins = ~joins[members]
        begins[0] = True
        firsts = np.flatnonzero(begins)
        sizes = np.diff(np.append(firsts, len(members)))
        if sizes.max() > MARKS_MOST:
            within = np.arange(len(members)) - np.repeat(firsts, sizes)
            firsts = np.flatnonzero(within % MARKS_MOST == 0)
            sizes = np.diff(np.append(firsts, len(members)))
        points = left[members] & _POINT
        apart = text_of(np.insert(points, firsts, _NEW_LINE))
        form = unicodedata.normalize("NFKC", apart)
        if form == apart:
            return None
        made = code_points(form)
        made = made[made != _BLANK]
        lengths = np.diff(np.append(np.flatnonzero(made == _NEW_LINE), len(made))) - 1
        made = made[made != _NEW_LINE]
        changed = _changed(points, sizes, made, lengths=lengths)
        if not changed.any():
            return None
        return cls(
            members[np.repeat(changed, sizes)],
            sizes[changed],
            made[np.repeat(changed, lengths)],
            lengths=lengths[changed],
        )

    def text(self, points: Points) -> str:
        """All characters left, with the forms of the clusters in their places."""
        single = np.ones(len(points), dtype=np.bool_)
        single[self._members] = False
        counts = single.astype(np.int64)
        counts[self._members[self._firsts]] = self._lengths
        self._ends = np.cumsum(counts)
        places = self._ends[single] - 1
        whole = np.empty(int(self._ends[-1]), dtype=np.uint32)
        whole[places] = points[single]
        formed = np.ones(len(whole), dtype=np.bool_)
        formed[places] = False
        whole[formed] = self._letters
        return text_of(whole)

    def first_of(self, at: int) -> int:
        """The character left that the character `at` of the text was made of: of a cluster the first."""
        return int(np.searchsorted(self._ends, at, side="right"))

    def last_of(self, at: int) -> int:
        """The same, of a cluster the last."""
        first = self.first_of(at)
        member = int(np.searchsorted(self._members, first))
        if member == len(self._members) or self._members[member] != first:
            return first
        behind = int(np.searchsorted(self._firsts, member, side="right"))
        end = self._firsts[behind] if behind < len(self._firsts) else len(self._members)
        return int(self._members[end - 1])


def _changed(points: Points, sizes: Places, made: Points, *, lengths: Places) -> npt.NDArray[np.bool_]:
    """Of each cluster, whether its form is another than its characters."""
    changed: npt.NDArray[np.bool_] = sizes != lengths
    same = ~changed
    other = points[np.repeat(same, sizes)] != made[np.repeat(same, lengths)]
    if other.any():
        firsts = np.cumsum(sizes[same]) - sizes[same]
        changed[same] = np.add.reduceat(other, firsts, dtype=np.int64) > 0
    return changed


@lru_cache(2)
def _table(beyond_bmp: bool) -> Points:
    """What becomes of each code point. Worked out when first needed (0.03 s; 0.1 s beyond the basic plane): it is
    Python's own Unicode.
    """
    table = np.arange(0x110000 if beyond_bmp else 0x10000, dtype=np.uint32)
    for point in chain(range(0xA0), *_CHANGED_PLANES):
        if point < len(table):
            table[point] = _becomes(chr(point))
    for point in chain(*_JOINING_LETTERS):
        table[point] |= _JOINS
    return table


@dataclass(frozen=True, slots=True)
class _Expansions:
    """Code points that become several, ascending, and which of `letters`."""

    points: Points
    starts: Places
    lengths: Places
    letters: Points


@lru_cache(1)
def _expansions() -> _Expansions:
    """Those of the table."""
    points = (_table(True) & _EXPANDS > 0).nonzero()[0]
    forms = ["".join(unicodedata.normalize("NFKC", chr(point)).split()) for point in points.tolist()]
    lengths = np.array([len(form) for form in forms])
    return _Expansions(points.astype(np.uint32), np.cumsum(lengths) - lengths, lengths, code_points("".join(forms)))


def _becomes(char: str) -> int:
    if char.isspace() or is_dropped(char):
        return _DROPPED
    if unicodedata.category(char)[0] == "M":
        return ord(char) | _JOINS
    form = "".join(unicodedata.normalize("NFKC", char).split())
    return ord(form) if len(form) == 1 else ord(char) | _EXPANDS
