"""Moved shards: rows of shards whose part is not written yet that are taken from former parts as they are."""

from __future__ import annotations

import asyncio

import pyarrow as pa

from rowmill.schemas.outcome import Outcome
from rowmill.schemas.row import Shard
from rowmill.tasks.journal.segment import Segment
from rowmill.tasks.output.moved_rows import MovedRows
from rowmill.tasks.output.moved_shard import MovedShard
from rowmill.tasks.run.shard_context import ShardContext

# Rows that are written down before calls in flight are heard again.
ROWS_AT_ONCE = 64


class MovedShards:
    """The moved rows of each shard, by its number."""

    def __init__(self, context: ShardContext) -> None:
        self._context = context
        self._moved: dict[int, MovedShard] = {}

    def of(self, shard: Shard) -> MovedShard | None:
        """The shard's moved rows; None where it has none."""
        return self._moved.get(shard.number)

    def rows(self, shard: Shard) -> frozenset[int]:
        """The positions of the shard's moved rows."""
        moved = self._moved.get(shard.number)
        return moved.known if moved is not None else frozenset()

    def outcome(self, row: int) -> Outcome | None:
        """The outcome of a moved row; None for any other row."""
        return next((moved.outcome(row) for moved in self._moved.values() if row in moved.known), None)

    def holds(self, row: int) -> bool:
        """Whether this is a moved row."""
        return any(row in moved.known for moved in self._moved.values())

    def drop(self, shard: Shard) -> None:
        """The shard's part is written, or its journal tells these rows."""
        self._moved.pop(shard.number, None)

    async def find(self, shard: Shard, segment: Segment) -> None:
        """Find the shard's rows that stand in former parts as they are, and whose requests no other row has."""
        source = self._context.moved
        if source is None or shard.number in self._moved:
            return
        try:
            moved = await self._found(source, shard, segment)
        except (OSError, pa.ArrowException):
            # Its rows are looked for by their requests, and the damage is told there.
            return
        if moved is not None:
            self._moved[shard.number] = moved
            self._context.progress.begin(await asyncio.to_thread(moved.tally))

    async def _found(self, source: MovedRows, shard: Shard, segment: Segment) -> MovedShard | None:
        context = self._context
        assert context.lines is not None
        besides = [*segment.settled, *(row for row in context.duplicates if shard.first_row <= row <= shard.last_row)]
        found = await asyncio.to_thread(source.find, context.lines.of(shard), shard.first_row, besides)
        if found is None:
            return None
        rows, keys = found.rows.tolist(), await asyncio.to_thread(found.keys)
        # All of it can be read: from here on the rows are these, also for those of other shards that ask the same.
        await asyncio.to_thread(found.tally)
        owners = context.keys.owners(list(zip(keys, rows, strict=True)))
        others = frozenset(row for row, owner in zip(rows, owners, strict=True) if owner != row)
        return found.without(others) if others else found

    async def keep_in(self, segment: Segment, shard: Shard) -> None:
        """Write the moved rows of a shard that is not complete into its journal: what the run shows is then there.

        Raises StorageError.
        """
        moved = self._moved.get(shard.number)
        if moved is None:
            return
        for place, outcome in enumerate(moved.outcomes()):
            segment.note(outcome)
            if place % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        segment.flush()
