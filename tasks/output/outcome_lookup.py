"""Outcome lookup: outcomes of single rows, from parts that do not change."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec

from rowmill.schemas.outcome import Outcome
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.output.part_reader import PartReader

# Row groups of some thousand rows each that are held at a time.
GROUPS_HELD = 4


class OutcomeLookup:
    """Rows that are looked up one after another mostly stand near each other, so a few row groups are held. One that is
    needed again after it was let go is written to a scratch file row by row: each group is decoded twice at the most,
    in whatever order its rows are asked for.
    """

    def __init__(self, validator: Validator) -> None:
        self._validator = validator
        self._readers: dict[Path, PartReader] = {}
        self._held: OrderedDict[tuple[Path, int], list[Outcome]] = OrderedDict()
        self._seen: set[tuple[Path, int]] = set()
        self._spilled: dict[tuple[Path, int], array[int]] = {}
        self._scratch: Any = None

    def reader(self, path: Path) -> PartReader:
        if path not in self._readers:
            self._readers[path] = PartReader(path, self._validator)
        return self._readers[path]

    def outcome(self, path: Path, group: int, place: int) -> Outcome:
        """The outcome at a place of a row group."""
        name = (path, group)
        if (offsets := self._spilled.get(name)) is not None:
            return self._unspilled(offsets[place], offsets[place + 1])
        if name not in self._held:
            outcomes = self.reader(path).outcomes(group)
            if name in self._seen:
                self._spill(name, outcomes)
                return outcomes[place]
            self._seen.add(name)
            self._held[name] = outcomes
            if len(self._held) > GROUPS_HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(name)
        return self._held[name][place]

    def at(self, path: Path, row: int) -> Outcome:
        """The outcome of a row of a part, counted from its first."""
        for group, rows in enumerate(self.reader(path).rows):
            if row < rows:
                return self.outcome(path, group, row)
            row -= rows
        raise IndexError(f"{path} has no such row")

    def of_row(self, path: Path, row: int) -> Outcome | None:
        """The outcome of a row of the input; None where the part does not hold it. Rows of a part stand in order."""
        group = self.reader(path).group_of(row)
        if group is None:
            return None
        first = self.outcome(path, group, 0).row_index
        if 0 <= row - first < self.reader(path).rows[group]:
            found = self.outcome(path, group, row - first)
            if found.row_index == row:
                return found
        # A part of a stopped run may lack rows.
        rows = self.reader(path).column(group, "row_index")
        return self.outcome(path, group, rows.index(row)) if row in rows else None

    def _spill(self, name: tuple[Path, int], outcomes: list[Outcome]) -> None:
        if self._scratch is None:
            self._scratch = tempfile.TemporaryFile(prefix="rowmill-")  # noqa: SIM115  closed with the lookup
        at = self._scratch.seek(0, os.SEEK_END)
        offsets = array("q", [at])
        for outcome in outcomes:
            at += self._scratch.write(msgspec.json.encode(outcome))
            offsets.append(at)
        self._scratch.flush()
        self._spilled[name] = offsets

    def _unspilled(self, start: int, end: int) -> Outcome:
        return msgspec.json.decode(os.pread(self._scratch.fileno(), end - start, start), type=Outcome)

    def close(self) -> None:
        if self._scratch is not None:
            self._scratch.close()
