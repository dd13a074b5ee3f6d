"""A JSON Schema becomes the type of the output column, and an accepted answer its value."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.output_schema import output_shape

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab{}[],:\"'/", max_size=4), inner, max_size=4),
    max_leaves=12,
)


CLOSED = {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "type_"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["integer", "null"]}, "int64"),
        ({"enum": ["a", "b"]}, "string"),
        ({"type": "number"}, "double"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "bool"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "string"),
        ({"type": "array", "items": {"type": "integer"}}, "list<item: int64>"),
        ({"type": "array", "prefixItems": [{"type": "integer"}]}, "string"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "map<string, double>"),
        ({"type": "object"}, "string"),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, **CLOSED}, "struct<a: int64>"),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, "struct<a: int64, _extra: string>"),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}, **CLOSED}}},
         "struct<next: string>"),
        ({"patternProperties": {"x": {}}, "type": "object"}, "string"),
    ],
)  # fmt: skip
def test_json_schema_becomes_one_arrow_type(schema, type_):
    """Each schema has one decided column type, the same for every part."""
    assert str(output_shape(schema).type) == type_


@given(
    st.fixed_dictionaries(
        {"a": st.integers(-(2**63), 2**63 - 1), "list": st.lists(st.text(st.characters(codec="utf-8")), max_size=3)},
        optional={"b": st.none() | st.floats(allow_nan=False, allow_infinity=False), "more": json_values},
    )
)
def test_an_accepted_answer_is_in_its_column_unchanged(value):
    """What the model answered and the schema allows reads back from Arrow as it was."""
    shape = output_shape(
        {
            "type": "object",
            "properties": {
                "a": {"type": "integer"},
                "b": {"type": ["number", "null"]},
                "list": {"type": "array", "items": {"type": "string"}},
            },
        }
    )
    back = pa.array([shape.convert(value), None], shape.type).to_pylist()
    assert back[1] is None
    extra = json.loads(back[0].pop("_extra") or "{}")
    assert extra == {key: part for key, part in value.items() if key == "more"}
    assert back[0] == {"a": value["a"], "b": value.get("b"), "list": value["list"]}
