"""The output column is the same whether answers are read in one piece or one by one."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.output_schema import ShapeError, output_shape
from rowmill.tasks.answers.validator import output_value
from rowmill.tasks.output.output_column import output_column

KINDS = {
    "string": st.text(max_size=3) | st.just("\ud800"),
    "integer": st.integers(-3, 3) | st.sampled_from([3.0, -0.0, 2**63, 2**63 - 1, -(2**63), 1e300]),
    "number": st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-3, 3)
    | st.sampled_from([2**53 + 1, 2**70]),
    "boolean": st.booleans(),
    "array": st.just([1, 2]),
}
NAMES = ["a", "b c", "_extra2", "class", "", 'q"x', "back\\slash", "\x01", "é"]
WRONG = st.sampled_from([1, "x", True, None, [1], {"a": 1}])


@st.composite
def answers(draw):
    kinds = draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(sorted(KINDS)), min_size=1, max_size=3))
    schema = {"type": "object", "properties": {name: {"type": [kind, "null"]} for name, kind in kinds.items()}}
    if draw(st.booleans()):
        schema["additionalProperties"] = False
    values = {name: st.none() | KINDS[kind] for name, kind in kinds.items()}
    if draw(st.integers(0, 4)) == 0:
        values["more"] = WRONG
        values[draw(st.sampled_from(sorted(kinds)))] = WRONG
    row = st.fixed_dictionaries({}, optional=values)
    texts = draw(st.lists(st.none() | st.just("null") | row.map(json.dumps), max_size=6))
    return schema, texts


@given(told=answers())
def test_answers_read_together_are_those_read_one_by_one(told):
    """Whatever the numbers, lone surrogates, missing and unknown fields: the same column, or the same refusal."""
    schema, texts = told
    shape = output_shape(schema)
    try:
        expected = pa.array([None if text is None else output_value(text, shape) for text in texts], shape.type)
    except ShapeError as error:
        with pytest.raises(ShapeError) as found:
            output_column(texts, shape.type, shape)
        assert str(found.value) == str(error)
        return
    found = output_column(texts, shape.type, shape)
    assert found.type == expected.type
    assert repr(found.to_pylist()) == repr(expected.to_pylist())


def test_plain_answers_are_read_in_one_piece(monkeypatch):
    """A batch of answers with plain fields makes no value by itself."""
    shape = output_shape({"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}})
    monkeypatch.setattr("rowmill.tasks.output.output_column.output_value", None)
    found = output_column(['{"name": "x", "n": 3}', None, '{"n": null}'], shape.type, shape)
    assert found.to_pylist() == [
        {"name": "x", "n": 3, "_extra": None},
        None,
        {"name": None, "n": None, "_extra": None},
    ]
