"""Moved shard: the rows of one shard whose results are taken from former parts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa

from rowmill.schemas.outcome import Outcome
from rowmill.schemas.tally import Tally
from rowmill.tasks.output.part_notes import NotedRows, Positions
from rowmill.tasks.output.part_requests import keys_apart, request_keys
from rowmill.tasks.output.results_sums import columns_tally


class Source(Protocol):
    """Where the rows stand now; `places` are theirs over all former parts, `rows` their positions in the input."""

    def take(self, places: Positions) -> tuple[pa.Table, NotedRows]: ...

    def renumbered(self, table: pa.Table, rows: Positions) -> pa.Table: ...

    def outcomes(self, rows: Positions, places: Positions) -> Iterator[Outcome]: ...


class MovedShard:
    """Rows of one shard that are taken from elsewhere: their positions in the input, ascending, and their places in the
    source."""

    def __init__(self, source: Source, rows: Positions, places: Positions) -> None:
        self._source, self.rows, self._places = source, rows, places

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def known(self) -> frozenset[int]:
        """The positions."""
        return frozenset(self.rows.tolist())

    def keys(self) -> list[bytes]:
        """The request keys of the rows, in their order."""
        found: list[bytes] = []
        for table, _ in self._tables():
            found += keys_apart(request_keys(table.column("request_key")))
        return found

    def without(self, rows: frozenset[int]) -> MovedShard | None:
        """The others."""
        left = ~np.isin(self.rows, list(rows))
        return MovedShard(self._source, self.rows[left], self._places[left]) if left.any() else None

    def tally(self) -> Tally:
        """The sums of the rows."""
        total = Tally()
        for table, noted in self._tables():
            total.merge(columns_tally(table, noted))
        return total

    def _tables(self, size: int = 5_000) -> Iterator[tuple[pa.Table, NotedRows]]:
        for at in range(0, len(self), size):
            yield self._source.take(self._places[at : at + size])

    def between(self, first: int, end: int) -> tuple[pa.Table, NotedRows] | None:
        """The rows from position `first` on, before `end`, as they are to stand there; None where there are none."""
        start, stop = np.searchsorted(self.rows, [first, end])
        if start == stop:
            return None
        table, noted = self._source.take(self._places[start:stop])
        rows = self.rows[start:stop]
        return self._source.renumbered(table, rows), noted

    def outcome(self, row: int) -> Outcome:
        """One of the rows."""
        at = np.searchsorted(self.rows, [row])
        return next(self._source.outcomes(self.rows[at], self._places[at]))

    def outcomes(self) -> Iterator[Outcome]:
        """All of the rows, in their order."""
        return self._source.outcomes(self.rows, self._places)
