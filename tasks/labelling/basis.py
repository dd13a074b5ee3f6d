"""Basis: whose gold a row has, and so what its score says of other rows."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.tasks.labelling.audit import is_drawn


@dataclass(frozen=True, slots=True)
class Basis:
    """Whose gold a row has: a column's, people's on rows that the audit drew, or people's on rows of their choice."""

    by_people: frozenset[str] = frozenset()
    audit: float = 0.0

    @property
    def audited(self) -> list[str]:
        """The rows that people labelled because the audit drew them."""
        return sorted(row for row in self.by_people if is_drawn(row, self.audit))

    def is_of_people(self, row_ids: pa.ChunkedArray) -> pa.Array:
        """Of each row, whether its gold is people's alone."""
        return pc.is_in(row_ids, pa.array(sorted(self.by_people), pa.string()))

    def is_audited(self, row_ids: pa.ChunkedArray) -> pa.Array:
        """Of each row, whether people labelled it because the audit drew it."""
        return pc.is_in(row_ids, pa.array(self.audited, pa.string()))
