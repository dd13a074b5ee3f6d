"""Sorted run: keys in order with their numbers, in memory or in a file that is mapped into it.

A file's pages that were looked at count as this process's memory: they are let go of again. Looking for a key touches
one place of the file, and none where it is not there, as most are not: of a run on disk a guide is in memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
# Bits of a guide for each key, up to the next power of two; all of them together are at most 32 MB.
BITS_A_KEY, BITS_MOST = 8, 28
# Keys between two that a guide holds: a page of the file.
STRETCH = 512
# Keys that are looked for on disk before the pages are let go of; each touches some 64 kB.
LOOKED_MOST = 128


class Guide:
    """What is in memory of a run on disk: each STRETCH-th key, by which a place is found, and a bit for each of many
    equal ranges of all possible keys: where it is not set, no key stands.
    """

    def __init__(self, keys: int) -> None:
        bits = min(BITS_MOST, max(3, (keys * BITS_A_KEY - 1).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._bytes = np.zeros(1 << bits - 3, np.uint8)
        self._met = 0
        self._held: list[Words] = []

    def add(self, first: Words) -> None:
        """The next keys of the run."""
        at = first >> self._shift
        np.bitwise_or.at(self._bytes, at >> np.uint64(3), _bits(at))
        self._held.append(first[-self._met % STRETCH :: STRETCH].copy())
        self._met += len(first)

    def may_hold(self, first: Words) -> npt.NDArray[np.bool_]:
        at = first >> self._shift
        found: npt.NDArray[np.bool_] = (self._bytes[at >> np.uint64(3)] & _bits(at)) != 0
        return found

    def places(self, column: Words, wanted: Words) -> Numbers:
        """Where in the run's column the first key that is not less than each of these stands, by halving."""
        if len(self._held) > 1:
            self._held = [np.concatenate(self._held)]
        # The stretch before the first held key that is not less, and that key itself.
        low = np.maximum(np.searchsorted(self._held[0], wanted) - 1, 0) * STRETCH
        left = STRETCH
        while left:
            half = (left + 1) // 2
            middle = low + half - 1
            is_less = column[np.minimum(middle, len(column) - 1)] < wanted
            low = np.where(is_less & (middle < len(column)), middle + 1, low)
            left -= half
        return low


def _bits(at: Words) -> npt.NDArray[np.uint8]:
    return np.left_shift(np.uint8(1), (at & np.uint64(7)).astype(np.uint8))


@dataclass(slots=True)
class SortedRun:
    """Keys in order, those that are equal by their numbers. `mapped` is the file's, where they stand on disk."""

    first: Words
    second: Words
    numbers: Numbers
    mapped: mmap.mmap | None = None
    guide: Guide | None = None
    _looked: int = field(default=0, repr=False)

    def __len__(self) -> int:
        return len(self.first)

    def find(self, keys: Keys, found: Numbers) -> None:
        """Lower `found` to the number of each key that stands here."""
        if self.guide is None:
            self._find(keys, np.arange(len(keys)), found)
            return
        wanted = np.flatnonzero(self.guide.may_hold(keys[:, 0]))
        for at in range(0, len(wanted), LOOKED_MOST):
            some = wanted[at : at + LOOKED_MOST]
            self._find(keys, some, found)
            self._looked += len(some)
            if self._looked >= LOOKED_MOST:
                self.let_go()

    def _find(self, keys: Keys, wanted: Numbers, found: Numbers) -> None:
        at = np.minimum(self._places(keys[wanted, 0]), len(self) - 1)
        same = self.first[at] == keys[wanted, 0]
        wanted, at = wanted[same], at[same]
        while len(wanted):
            same = self.second[at] == keys[wanted, 1]
            found[wanted[same]] = np.minimum(found[wanted[same]], self.numbers[at[same]])
            # Other keys whose first half is the same.
            wanted, at = wanted[~same], at[~same] + 1
            inside = at < len(self)
            wanted, at = wanted[inside], at[inside]
            more = self.first[at] == keys[wanted, 0]
            wanted, at = wanted[more], at[more]

    def _places(self, wanted: Words) -> Numbers:
        if self.guide is not None:
            return self.guide.places(self.first, wanted)
        return np.searchsorted(self.first, wanted).astype(np.int64)

    def between(self, low: int, high: int | None) -> SortedRun:
        """The keys from `low` on, before `high`, in memory."""
        start, end = self._places(np.array([low, high or 0], np.uint64)).tolist()
        inside = slice(start, len(self) if high is None else end)
        if self.mapped is None:
            return SortedRun(self.first[inside], self.second[inside], self.numbers[inside])
        held = SortedRun(self.first[inside].copy(), self.second[inside].copy(), self.numbers[inside].copy())
        self.let_go()
        return held

    def let_go(self) -> None:
        """The pages that were looked at are memory of this process no more."""
        self._looked = 0
        if self.mapped is not None:
            self.mapped.madvise(mmap.MADV_DONTNEED)


def sorted_run(first: Words, second: Words, numbers: Numbers) -> SortedRun:
    """Keys, in whatever order they come, as a run."""
    order = np.argsort(first)
    run = SortedRun(first[order], second[order], numbers[order])
    if (run.first[1:] == run.first[:-1]).any():
        order = np.lexsort((numbers, second, first))
        run = SortedRun(first[order], second[order], numbers[order])
    return run


def merged_slices(runs: Sequence[SortedRun], rows: int) -> Iterator[SortedRun]:
    """The keys of several runs in order, about so many at a time; equal ones come together."""
    count = -(-sum(map(len, runs)) // rows)
    borders = [at * (1 << 64) // count for at in range(count)]
    for low, high in zip(borders, [*borders[1:], None][:count], strict=True):
        slices = [run.between(low, high) for run in runs]
        if len(slices) == 1:
            yield slices[0]
            continue
        yield sorted_run(
            np.concatenate([one.first for one in slices]),
            np.concatenate([one.second for one in slices]),
            np.concatenate([one.numbers for one in slices]),
        )


def run_on_disk(mapped: mmap.mmap, keys: int, guide: Guide) -> SortedRun:
    """A run whose three columns stand one after the other in a file."""
    first, second = (np.frombuffer(mapped, np.uint64, keys, place * keys * 8) for place in (0, 1))
    return SortedRun(first, second, np.frombuffer(mapped, np.int64, keys, 2 * keys * 8), mapped, guide)
