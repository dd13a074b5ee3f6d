"""Agreement is summed over the rows that votes answered, also where a part has none."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowmill.schemas.fields import FieldVotes
from rowmill.schemas.output_schema import output_shape
from rowmill.schemas.results import votes_type
from rowmill.tasks.fields.tree import field_tree
from rowmill.tasks.labelling.field_agreement import agreement_sums

TREE = field_tree(output_shape({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}))


def test_rows_without_an_answer_are_left_out(tmp_path):
    """Votes, doubt by field, rows in doubt once each, and rows of the stronger model; a part without answers adds none."""
    shares = [{"a": 1.0, "b": 0.5}, {"a": 0.4, "b": 0.4}, None]
    models = [["weak"] * 2, ["weak", "weak", "strong", "strong"], ["weak"]]
    parts = []
    for number, rows in enumerate(([0, 1, 2], [2])):
        votes = pa.array([[{"model": model} for model in models[row]] for row in rows], votes_type())
        agreement = pa.array([shares[row] for row in rows], TREE.struct(pa.float64()))
        parts.append(tmp_path / f"part-{number:06d}.parquet")
        pq.write_table(pa.table({"votes": votes, "field_agreement": agreement}), parts[-1])
    found = agreement_sums(parts, FieldVotes(most=2, review_below=0.51), "weak", tree=TREE)
    assert (found.rows, found.votes, found.escalated, found.to_review) == (2, 6, 1, 2)
    assert found.doubtful == {"a": 1, "b": 2}
    assert found.mean("a") == pytest.approx(0.7)
    assert found.voted_rows().agreement == pytest.approx((0.7 + 0.45) / 2)
    assert agreement_sums(parts[1:], FieldVotes(most=2), "weak", tree=TREE).voted_rows().agreement is None
