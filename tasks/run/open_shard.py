"""Open shard: a shard whose rows are being settled: its journal, the sums of what that holds, and what is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rowmill.schemas.outcome import Outcome
from rowmill.schemas.row import Shard
from rowmill.schemas.tally import Tally
from rowmill.tasks.journal.segment import Segment
from rowmill.tasks.run.turns import Turn


@dataclass(slots=True)
class Remaining:
    """Rows of a shard that somebody else is to ask, as ranges of positions (both ends inclusive), and the rows whose
    answers others of the shard wait for.
    """

    ranges: list[tuple[int, int]] = field(default_factory=list)
    owners: set[int] = field(default_factory=set)

    def ask(self, row: int) -> None:
        """One row more; rows come in order."""
        if self.ranges and self.ranges[-1][1] == row - 1:
            self.ranges[-1] = (self.ranges[-1][0], row)
        else:
            self.ranges.append((row, row))


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A shard, its journal and its sums. `show` is told each outcome that is new; its rows are taken up in its `turn`;
    `remaining` is for others to ask.
    """

    shard: Shard
    segment: Segment
    tally: Tally
    show: Callable[[Outcome], None]
    turn: Turn
    remaining: Remaining = field(default_factory=Remaining)

    def note(self, outcome: Outcome) -> None:
        """Write down an outcome that cost nothing; not waited for."""
        self.segment.note(outcome)
        self.count(outcome)

    async def settle(self, outcome: Outcome) -> None:
        """Write down an outcome and wait until it is durable. Raises StorageError."""
        await self.segment.settle(outcome)
        self.count(outcome)

    def count(self, outcome: Outcome) -> None:
        """Add an outcome that is written down to the sums, and show it."""
        self.tally.add(outcome)
        self.show(outcome)
