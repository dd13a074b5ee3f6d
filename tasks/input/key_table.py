"""Key table: 16-byte keys, each with the least number that it was told with, on disk with bounded memory.

Keys are digests, so they are spread evenly. Those that are claimed stand in a dictionary; when it is full they become a
sorted run, and four runs of a size are merged into one of the next, a slice of the keys at a time. Keys that are added
in bulk are sorted once, and merged once before the first look at them. Larger runs stand in files without a name,
mapped into memory: nothing of them is left when the process ends.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from rowmill.schemas.errors import StorageError
from rowmill.tasks.input.sorted_run import Guide, Keys, Numbers, SortedRun, merged_slices, run_on_disk, sorted_run

__all__ = ["KEY_BYTES", "UNKNOWN", "KeyTable", "Keys", "Marks", "Numbers", "key_array"]

KEY_BYTES = 16
# Keys that are held in the dictionary, at some 200 bytes each.
HELD_MOST = 1 << 15
# Runs of a size that are merged into one; of those that were added in bulk.
FAN, BULK_FAN = 4, 64
# Keys of all runs together that are sorted at a time, at 24 bytes each; no more stand in a run that is held in memory.
SLICE_ROWS = 1 << 17
UNKNOWN = np.iinfo(np.int64).max
_BYTES = 8
Marks = npt.NDArray[np.bool_]


def key_array(keys: Sequence[bytes] | bytes) -> Keys:
    """Keys, or their bytes one after the other, as two numbers each. Raises ValueError for one of another size."""
    if not isinstance(keys, bytes):
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        keys = b"".join(keys)
    return np.frombuffer(keys, "<u8").reshape(-1, 2)


class KeyTable:
    """A map from keys to numbers. Raises StorageError where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where its files stand, without a name."""
        self._folder = folder
        self._latest: dict[bytes, int] = {}
        # By size: each level holds runs of about FAN times as many keys as the one before.
        self._levels: list[list[SortedRun]] = []
        # Added in bulk: keys that are not sorted yet, and runs that are not merged yet.
        self._loose: list[tuple[Keys, Numbers]] = []
        self._bulk: list[SortedRun] = []

    def claim(self, keys: Sequence[bytes], numbers: Sequence[int]) -> list[int]:
        """The number of each key: the one that it had, or else the one that it is given here."""
        latest = self._latest
        self._settle()
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
        self._loose.append((keys, numbers))
        if sum(len(one) for one, _ in self._loose) >= SLICE_ROWS:
            self._sort()

    def find(self, keys: Keys) -> Numbers:
        """The number of each key, UNKNOWN where there is none."""
        self._gather()
        self._settle()
        return self._in_runs(keys)

    def repeated(self) -> Iterator[tuple[int, int]]:
        """The numbers of keys that were added before, each with the least number of its key."""
        self._gather()
        self._settle()
        runs = [run for level in self._levels for run in level]
        if len(runs) > 1:
            runs, self._levels = [self._merged(runs)], []
            self._put(runs[0])
        for run in merged_slices(runs, SLICE_ROWS):
            same = (run.first[1:] == run.first[:-1]) & (run.second[1:] == run.second[:-1])
            if not same.any():
                continue
            begins = np.flatnonzero(np.concatenate([[True], ~same]))
            least = np.repeat(run.numbers[begins], np.diff(np.append(begins, len(run))))
            again = np.flatnonzero(same) + 1
            yield from zip(run.numbers[again].tolist(), least[again].tolist(), strict=True)

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
            self._put(sorted_run(keys[:, 0], keys[:, 1], np.fromiter(self._latest.values(), np.int64, len(keys))))
            self._latest = {}

    def _sort(self) -> None:
        """Make runs of the keys that were added."""
        keys = np.concatenate([one for one, _ in self._loose])
        numbers = np.concatenate([one for _, one in self._loose])
        self._loose = []
        for at in range(0, len(keys), SLICE_ROWS):
            some = keys[at : at + SLICE_ROWS]
            run = sorted_run(some[:, 0], some[:, 1], numbers[at : at + SLICE_ROWS])
            self._bulk.append(run if len(run) < SLICE_ROWS else self._written(len(run), iter([run])))
        if len(self._bulk) >= BULK_FAN:
            self._settle()

    def _settle(self) -> None:
        """Make one run of those that were added."""
        if self._loose:
            self._sort()
        if self._bulk:
            bulk, self._bulk = self._bulk, []
            self._put(bulk[0] if len(bulk) == 1 else self._merged(bulk))

    def _put(self, run: SortedRun) -> None:
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

    def _merged(self, runs: list[SortedRun]) -> SortedRun:
        total = sum(map(len, runs))
        slices = merged_slices(runs, SLICE_ROWS)
        return next(slices) if total <= SLICE_ROWS else self._written(total, slices)

    def _written(self, total: int, slices: Iterator[SortedRun]) -> SortedRun:
        guide = Guide(total)
        try:
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                at = 0
                for some in slices:
                    guide.add(some.first)
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
        return run_on_disk(mapped, total, guide)

    def close(self) -> None:
        """Let go of all keys; the files go with the last who looks at them."""
        self._latest, self._levels, self._loose, self._bulk = {}, [], [], []


def _write(file: IO[bytes], column: bytes) -> None:
    left = memoryview(column)
    while left:
        left = left[file.write(left) :]
