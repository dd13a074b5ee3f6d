"""Leased rows: those of a shard that its coordinator has planned and left to a worker."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from rowmill.schemas.errors import InputError
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row, Unreadable
from rowmill.tasks.run.row_requests import RowRequests


def within(ranges: Sequence[tuple[int, int]]) -> Callable[[int], bool]:
    """Whether a row's position lies in one of these ranges (both ends inclusive), which stand in order."""
    firsts = [first for first, _ in ranges]

    def holds(row: int) -> bool:
        at = bisect_right(firsts, row) - 1
        return at >= 0 and row <= ranges[at][1]

    return holds


class LeasedRequests(RowRequests):
    """Rows that the coordinator has planned already: here each of them can be asked too, or this is the wrong place."""

    def plan(self, rows: Sequence[Row | Unreadable]) -> list[Request | Outcome]:
        """Each row's request. Raises InputError where one cannot be asked."""
        planned = super().plan(rows)
        for told in planned:
            if isinstance(told, Outcome):
                raise InputError(
                    f"the row cannot be asked by this worker: {told.error_message}",
                    where=f"row {told.row_index}",
                    hint="let all machines see the same input and media_root",
                )
        return planned
