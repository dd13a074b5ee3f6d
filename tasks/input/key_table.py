"""Key table: 16-byte keys, each with the least number that it was told with, on disk with bounded memory.

Keys are digests, so they are spread evenly. The latest stand in a dictionary. When it is full they become a sorted run,
and four runs of a size are merged into one of the next, a slice of the keys at a time. Larger runs
stand in files without a name, mapped into memory: nothing of them is left when the process ends.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from rowmill.schemas.errors import StorageError

KEY_BYTES = 16
# Keys that are held in the dictionary, at some 200 bytes each.
HELD_MOST = 1 << 15
# Runs of a size that are merged into one.
FAN = 4
# Keys of all runs together that are sorted at a time while runs are merged, at 24 bytes each; no more stand in a run
# that is held in memory.
SLICE_ROWS = 1 << 17
UNKNOWN = np.iinfo(np.int64).max
_BYTES = 8
Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]


def key_array(keys: Sequence[bytes] | bytes) -> Keys:
    """Keys, or their bytes one after the other, as two numbers each. Raises ValueError for one of another size."""
    if not isinstance(keys, bytes):
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        keys = b"".join(keys)
    return np.frombuffer(keys, "<u8").reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class _Run:
    """Keys in order, those that are equal by their numbers. `mapped` is what to let go of, where they stand on disk."""

    first: npt.NDArray[np.uint64]
    second: npt.NDArray[np.uint64]
    numbers: Numbers
    mapped: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.first)

    def find(self, keys: Keys, found: Numbers) -> None:
        """Lower `found` to the number of each key that stands here."""
        at = np.minimum(np.searchsorted(self.first, keys[:, 0]), len(self) - 1)
        wanted = np.flatnonzero(self.first[at] == keys[:, 0])
        at = at[wanted]
        while len(wanted):
            same = self.second[at] == keys[wanted, 1]
            found[wanted[same]] = np.minimum(found[wanted[same]], self.numbers[at[same]])
            # Other keys whose first half is the same.
            wanted, at = wanted[~same], at[~same] + 1
            inside = at < len(self)
            wanted, at = wanted[inside], at[inside]
            more = self.first[at] == keys[wanted, 0]
            wanted, at = wanted[more], at[more]

    def between(self, low: int, high: int | None) -> slice:
        """Where the keys from `low` on, before `high`, stand."""
        start = int(np.searchsorted(self.first, np.uint64(low)))
        return slice(start, len(self) if high is None else int(np.searchsorted(self.first, np.uint64(high))))


def _sorted(first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64], numbers: Numbers) -> _Run:
    order = np.argsort(first)
    run = _Run(first[order], second[order], numbers[order])
    if (run.first[1:] == run.first[:-1]).any():
        order = np.lexsort((numbers, second, first))
        run = _Run(first[order], second[order], numbers[order])
    return run


class KeyTable:
    """A map from keys to numbers. Raises StorageError where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where its files stand, without a name."""
        self._folder = folder
        self._latest: dict[bytes, int] = {}
        # By size: each level holds runs of about FAN times as many keys as the one before.
        self._levels: list[list[_Run]] = []

    def claim(self, keys: Sequence[bytes], numbers: Sequence[int]) -> list[int]:
        """The number of each key: the one that it had, or else the one that it is given here."""
        latest = self._latest
        if not self._levels:
            owners = [latest.setdefault(key, number) for key, number in zip(keys, numbers, strict=True)]
        else:
            known = self._in_runs(key_array(keys)).tolist()
            owners = [
                latest.setdefault(key, number) if had == UNKNOWN else had
                for key, number, had in zip(keys, numbers, known, strict=True)
            ]
        if len(latest) >= HELD_MOST:
            self._gather()
        return owners

    def add(self, keys: Keys, numbers: Numbers) -> None:
        """Take many keys in at once. One that stands already has the lesser of both numbers from here on."""
        self._gather()
        for at in range(0, len(keys), HELD_MOST):
            some = keys[at : at + HELD_MOST]
            self._put(_sorted(some[:, 0], some[:, 1], numbers[at : at + HELD_MOST]))

    def find(self, keys: Keys) -> Numbers:
        """The number of each key, UNKNOWN where there is none."""
        self._gather()
        return self._in_runs(keys)

    def repeated(self) -> Iterator[tuple[int, int]]:
        """The numbers of keys that were added before, each with the least number of its key."""
        self._gather()
        for run in self._merged_slices(self._runs):
            same = (run.first[1:] == run.first[:-1]) & (run.second[1:] == run.second[:-1])
            if not same.any():
                continue
            begins = np.flatnonzero(np.concatenate([[True], ~same]))
            least = np.repeat(run.numbers[begins], np.diff(np.append(begins, len(run))))
            again = np.flatnonzero(same) + 1
            yield from zip(run.numbers[again].tolist(), least[again].tolist(), strict=True)

    @property
    def _runs(self) -> list[_Run]:
        return [run for level in self._levels for run in level]

    def _in_runs(self, keys: Keys) -> Numbers:
        found = np.full(len(keys), UNKNOWN, np.int64)
        for level in self._levels:
            for run in level:
                run.find(keys, found)
        return found

    def _gather(self) -> None:
        """Make a run of the latest keys."""
        if self._latest:
            keys = key_array(list(self._latest))
            self._put(_sorted(keys[:, 0], keys[:, 1], np.fromiter(self._latest.values(), np.int64, len(keys))))
            self._latest = {}

    def _put(self, run: _Run) -> None:
        level = 0
        while len(run) >= FAN ** (level + 1):
            level += 1
        while True:
            while len(self._levels) <= level:
                self._levels.append([])
            self._levels[level].append(run)
            if len(self._levels[level]) < FAN:
                return
            several, self._levels[level] = self._levels[level], []
            run, level = self._merged(several), level + 1

    def _merged(self, runs: list[_Run]) -> _Run:
        total = sum(map(len, runs))
        if total <= SLICE_ROWS:
            return next(self._merged_slices(runs))
        merged = self._written(total, self._merged_slices(runs))
        for run in runs:
            if run.mapped is not None:
                run.mapped.madvise(mmap.MADV_DONTNEED)
        return merged

    def _merged_slices(self, runs: list[_Run]) -> Iterator[_Run]:
        """The keys of several runs in order, some at a time; equal ones come together."""
        count = -(-sum(map(len, runs)) // SLICE_ROWS)
        borders = [at * (1 << 64) // count for at in range(count)]
        for low, high in zip(borders, [*borders[1:], None][:count], strict=True):
            slices = [(run, run.between(low, high)) for run in runs]
            yield _sorted(
                np.concatenate([run.first[inside] for run, inside in slices]),
                np.concatenate([run.second[inside] for run, inside in slices]),
                np.concatenate([run.numbers[inside] for run, inside in slices]),
            )

    def _written(self, total: int, slices: Iterator[_Run]) -> _Run:
        try:
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                at = 0
                for some in slices:
                    for place, column in enumerate((some.first, some.second, some.numbers)):
                        file.seek((place * total + at) * _BYTES)
                        _write(file, column.tobytes())
                    at += len(some)
                mapped = mmap.mmap(file.fileno(), 3 * total * _BYTES, prot=mmap.PROT_READ)
        except OSError as error:
            raise StorageError(
                f"the key index cannot be written: {error.strerror or error}",
                where=str(self._folder),
                hint="free disk space and run the same command again: what was settled stands",
            ) from None
        first, second = (np.frombuffer(mapped, np.uint64, total, place * total * _BYTES) for place in (0, 1))
        return _Run(first, second, np.frombuffer(mapped, np.int64, total, 2 * total * _BYTES), mapped)

    def close(self) -> None:
        """Let go of all keys; the files go with the last who looks at them."""
        self._latest, self._levels = {}, []


def _write(file: IO[bytes], column: bytes) -> None:
    left = memoryview(column)
    while left:
        left = left[file.write(left) :]
