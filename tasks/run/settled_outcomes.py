"""Settled outcomes: where the outcome of each row that this run has settled stands, and the outcome itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rowmill.schemas.outcome import Outcome
from rowmill.schemas.row import Shard
from rowmill.tasks.journal.segment import Segment, outcome_at
from rowmill.tasks.output.outcome_lookup import OutcomeLookup
from rowmill.tasks.run.moved_shards import MovedShards
from rowmill.tasks.run.open_shard import OpenShard
from rowmill.tasks.run.shard_context import ShardContext


class SettledOutcomes:
    """Outcomes by row: in an open journal, in a former part, in a journal that was closed unfinished, or in a part."""

    def __init__(self, context: ShardContext, moved: MovedShards) -> None:
        self._layout, self._moved = context.output, moved
        self._lookup = OutcomeLookup(context.validator)
        self._open: dict[int, Segment] = {}
        # Segments of shards that were closed before their last row: where each settled row stands in its file.
        self._resting: dict[int, tuple[Path, Mapping[int, tuple[int, int]]]] = {}
        self._parts: dict[int, Shard] = {}

    def opened(self, opened: OpenShard) -> None:
        """A shard's journal is open."""
        self._open[opened.shard.number] = opened.segment
        self._resting.pop(opened.shard.number, None)

    def closed(self, opened: OpenShard) -> None:
        """A shard's journal is about to be closed; where its part is not written, it is read where it stands."""
        number, segment = opened.shard.number, opened.segment
        del self._open[number]
        if number not in self._parts:
            self._resting[number] = (segment.path, segment.settled)

    def in_part(self, shard: Shard) -> None:
        """A shard's part stands."""
        self._parts[shard.number] = shard

    def has_part(self, shard: Shard) -> bool:
        """Whether the shard's part stands."""
        return shard.number in self._parts

    def of(self, row: int) -> Outcome | None:
        """The outcome of a row; None where this run has seen none. Raises DamageError."""
        for segment in self._open.values():
            if row in segment.settled:
                return segment.outcome(row)
        if (moved := self._moved.outcome(row)) is not None:
            return moved
        for path, settled in self._resting.values():
            if (place := settled.get(row)) is not None:
                return outcome_at(path, *place)
        for number, shard in self._parts.items():
            if shard.first_row <= row <= shard.last_row:
                return self._lookup.of_row(self._layout.part_path(number), row)
        return None

    def holds(self, row: int) -> bool:
        """Whether a row has its outcome, as far as this run has seen."""
        if any(row in segment.settled for segment in self._open.values()) or self._moved.holds(row):
            return True
        if any(row in settled for _, settled in self._resting.values()):
            return True
        return any(shard.first_row <= row <= shard.last_row for shard in self._parts.values())
