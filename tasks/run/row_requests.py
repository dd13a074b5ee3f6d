"""Row requests: rows made into requests, and what is known of each: which row owns it, and where its answer stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rowmill.schemas.account import furthest
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row, Unreadable
from rowmill.tasks.journal.segment import Segment
from rowmill.tasks.output.answer_index import Place
from rowmill.tasks.run.reuse import carried
from rowmill.tasks.run.shard_context import ShardContext
from rowmill.tasks.settle.defect import plan_row


class RowRequests:
    """The requests of a run's rows."""

    def __init__(self, context: ShardContext) -> None:
        self._context = context

    def plan(self, rows: Sequence[Row | Unreadable]) -> list[Request | Outcome]:
        """Each row's request, or its outcome where it cannot be asked. Raises InputError."""
        return [self._planned(row) for row in rows]

    def _planned(self, row: Row | Unreadable) -> Request | Outcome:
        context = self._context
        if isinstance(row, Unreadable):
            return context.planner.never_read(row)
        first = context.duplicates.get(row.index)
        if first is not None:
            return context.planner.stands_twice(row, first)
        return plan_row(context.planner, row, context.run_id)

    def owners(self, planned: Sequence[Request | Outcome]) -> Iterator[tuple[int, Place | None]]:
        """Of the requests among these: the row that owns each; where its answer stands, if that is the row itself."""
        asked = [(told.key, told.row.index) for told in planned if isinstance(told, Request)]
        owners = self._context.keys.owners(asked)
        own = [key for (key, row), owner in zip(asked, owners, strict=True) if owner == row]
        found = iter(self._context.answer_cache.places(own))
        places = (next(found) if owner == row else None for (_, row), owner in zip(asked, owners, strict=True))
        return zip(owners, places, strict=True)

    def known_answer(self, request: Request, place: Place | None, segment: Segment) -> Outcome | None:
        """The row's answer from before the input changed, where its request was paid for then.

        A request that was paid for and has no answer, or one that is to be tried again, leaves its account; so does
        one that another open row asks. Raises DamageError.
        """
        context, row = self._context, request.row.index
        found = None if place is None else context.answer_cache.at(place, request.key)
        own, another = segment.replayed.accounts.get(row), context.open_accounts.get(request.key)
        if isinstance(found, Outcome):
            if found.status is Status.OK or (own is None and another is None):
                return carried(found, request, context.validator)
            again = context.answer_cache.reopened(found)
            if not any(one.reached > again.reached for one in (own, another) if one is not None):
                return carried(found, request, context.validator)
            # A retry that was stopped has opened it again: what was paid since is not given up for the old failure.
            found = again
        if found is None and another is None:
            return None
        # Each of its votes was paid, and is the vote of its place whichever row asked.
        accounts = [one for one in (own, found, another) if one is not None]
        if accounts and (known := furthest(*accounts)) is not own:
            segment.open_account(row, known, stands=known is another)
        return None
