"""Field agreement: what the votes of an output's rows agree on, field by field, from its parts alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.field_quality import VotedRows
from rowmill.schemas.fields import FieldVotes
from rowmill.schemas.results import FIELD_AGREEMENT
from rowmill.tasks.fields.tree import FieldTree, Leaf

BATCH_ROWS = 8_192


@dataclass(slots=True)
class AgreementSums:
    """Rows that votes answered and their votes; rows asked of the stronger model, rows with a field in doubt; by field
    the sum of the agreement, and the rows in which it is in doubt.
    """

    rows: int = 0
    votes: int = 0
    escalated: int = 0
    to_review: int = 0
    agreement: dict[str, float] = field(default_factory=dict)
    doubtful: dict[str, int] = field(default_factory=dict)

    def mean(self, name: str) -> float | None:
        return self.agreement.get(name, 0.0) / self.rows if self.rows else None

    def voted_rows(self) -> VotedRows:
        """What run.json tells of whole rows."""
        means = [total / self.rows for total in self.agreement.values()] if self.rows else []
        return VotedRows(
            rows=self.rows,
            votes=self.votes,
            votes_a_row=self.votes / self.rows if self.rows else None,
            agreement=sum(means) / len(means) if means else None,
            escalated=self.escalated,
            to_review=self.to_review,
        )


def agreement_sums(parts: Sequence[Path], votes: FieldVotes, model: str, *, tree: FieldTree) -> AgreementSums:
    """The sums over the rows of all parts that votes answered."""
    found = AgreementSums()
    for batch in answered_batches(parts, ["votes"]):
        found.rows += batch.num_rows
        found.votes += pc.sum(pc.list_value_length(batch["votes"])).as_py() or 0
        models = pc.struct_field(pc.list_flatten(batch["votes"]), "model")
        strangers = pc.list_parent_indices(batch["votes"]).filter(pc.not_equal(models, model))
        found.escalated += len(pc.unique(strangers))
        in_doubt = pa.array([False] * batch.num_rows, pa.bool_())
        for leaf in tree.leaves:
            shares = leaf_of(batch[FIELD_AGREEMENT], leaf)
            below = pc.less(shares, votes.review_below)
            found.agreement[leaf.name] = found.agreement.get(leaf.name, 0.0) + (pc.sum(shares).as_py() or 0.0)
            found.doubtful[leaf.name] = found.doubtful.get(leaf.name, 0) + (pc.sum(below).as_py() or 0)
            in_doubt = pc.or_(in_doubt, pc.fill_null(below, False))
        found.to_review += pc.sum(in_doubt).as_py() or 0
    return found


def answered_batches(parts: Sequence[Path], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows whose fields have an agreement, some at a time, with these columns beside it."""
    for part in parts:
        with pq.ParquetFile(part, pre_buffer=False) as file:
            if FIELD_AGREEMENT not in file.schema_arrow.names:
                continue
            for batch in file.iter_batches(BATCH_ROWS, columns=[FIELD_AGREEMENT, *columns], use_threads=False):
                yield batch.filter(pc.is_valid(batch[FIELD_AGREEMENT]))


def leaf_of(column: pa.Array, leaf: Leaf) -> pa.Array:
    """The values of a struct column at a leaf of the output."""
    for step in leaf.path:
        column = pc.struct_field(column, step)
    return column
