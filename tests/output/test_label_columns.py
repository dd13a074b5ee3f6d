"""Labelled: labellings as results columns, and back."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.attempt import Spent
from rowmill.schemas.label import Labelling, Vote
from rowmill.schemas.price import Cost
from rowmill.schemas.results import label_columns
from rowmill.schemas.usage import Usage
from rowmill.tasks.output.label_columns import label_column, labelling_in

counts = st.integers(0, 10**9)
spents = st.builds(Spent, st.integers(0, 9), st.builds(Usage, counts, counts, counts), st.builds(Cost, counts, counts),
                   st.booleans())  # fmt: skip
text = st.none() | st.text(st.characters(codec="utf-8"), max_size=12)


def labellings(multi: bool):
    one = st.none() | (st.lists(st.sampled_from("abc"), unique=True).map(tuple) if multi
                       else st.sampled_from("abc").map(lambda name: (name,)))  # fmt: skip
    vote = st.builds(Vote, st.sampled_from(["m", "n"]), one, st.just("ok"), text, text, spents, st.none() | counts)
    votes = st.lists(vote, min_size=1, max_size=4).map(tuple)
    return st.builds(Labelling, one, votes, st.none() | st.floats(0, 1), one)


@pytest.mark.parametrize("multi", [False, True])
@given(st.data())
def test_a_labelling_reads_back_from_its_columns(multi, data):
    """decode(encode(x)) = x for rows with one label and with several; rows that were never asked are null."""
    told = data.draw(st.lists(st.none() | labellings(multi), max_size=6))
    arrays = {name: label_column(name, type_, told) for name, type_ in label_columns(multi=multi)}
    rows = pa.table(arrays).to_pylist() if told else []
    assert [labelling_in(row) for row in rows] == told
    for row, one in zip(rows, told, strict=True):
        assert row["correct"] == (None if one is None else one.correct)
        assert row["label"] == row["voted_label"]
        if one is not None:
            assert sum(vote["cost_usd"] for vote in row["votes"]) * 10**12 == sum(v.spent.cost.usd for v in one.votes)
