"""An answer's text becomes one value, mended only where that cannot change its meaning; output keeps its type."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.errors import SchemaError
from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.schemas.output_schema import output_shape
from rowmill.tasks.answers.parser import parse_answer
from rowmill.tasks.answers.schema_file import load_schema
from rowmill.tasks.answers.validator import Accepted, Rejected, Validator, compile_schema

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab{}[],:\"'/", max_size=4), inner, max_size=4),
    max_leaves=12,
)
containers = st.lists(json_values, max_size=4) | st.dictionaries(st.text("abc", max_size=3), json_values, max_size=4)


@given(json_values)
def test_valid_json_is_taken_as_it_is(value):
    """A valid answer needs no mending, whatever it holds."""
    parsed = parse_answer(json.dumps(value, ensure_ascii=False))
    assert parsed.value == value
    assert parsed.repair is None


@given(containers)
def test_mends_never_change_the_value(value):
    """A fence, a byte order mark, a think block and prose around it leave the value as it was."""
    text = json.dumps(value)
    for wrapped, told in (
        (f"```json\n{text}\n```", "code fence"),
        (f"\ufeff{text}", "byte order mark"),
        (f"<think>maybe {{1}}</think>\n{text}", "think block"),
        (f"Sure, here it is: {text}", "prose around the value"),
    ):
        parsed = parse_answer(wrapped)
        assert parsed.value == value
        assert told in (parsed.repair or "")


@pytest.mark.parametrize(
    ("text", "value", "repair"),
    [
        ('{"a": [1, 2,], }', {"a": [1, 2]}, "trailing comma"),
        ('{"a": 1 // one\n, "b": /* two */ 2}', {"a": 1, "b": 2}, "comments"),
        ('{"a": "x\ny"}', {"a": "x\ny"}, "control characters"),
        ('{"url": "http://x//y", "c": ",]"}', {"url": "http://x//y", "c": ",]"}, None),
        ('{"a": "\\ud83d"}', {"a": "\ufffd"}, None),
        ('{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}, None),
    ],
)
def test_slips_are_mended_and_named(text, value, repair):
    """Trailing commas, comments and raw control characters are mended, outside strings only, and it is said."""
    parsed = parse_answer(text)
    assert parsed.value == value
    assert parsed.repair == repair


@pytest.mark.parametrize(
    "text",
    ['{"a": 1', "[1, 2", '{"a": 1} {"a": 2}', "[,]", "{'a': 1}", "no value", "", '{"a": NaN}', "[" * 100_000, "{" * 9_000],
)  # fmt: skip
def test_what_would_need_a_guess_is_refused(text):
    """A cut answer, two values, single quotes, NaN: none is repaired by inventing."""
    with pytest.raises(JsonTextError):
        parse_answer(text)


def test_validator_tells_the_model_what_is_wrong():
    """A violation names its place and reason; an integer beyond 64 bits is one too."""
    validator = Validator(
        {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    )
    assert validator.judge('{"n": 3}') == Accepted('{"n": 3}', None)
    for text, kind, told in (
        ('{"n": "x"}', FailureKind.SCHEMA_VIOLATION, "/n"),
        ('{"n": 99999999999999999999}', FailureKind.SCHEMA_VIOLATION, "64 bits"),
        ("{}", FailureKind.SCHEMA_VIOLATION, "required"),
        ("  ", FailureKind.EMPTY_ANSWER, "empty"),
        ("oh", FailureKind.INVALID_JSON, "JSON"),
    ):
        verdict = validator.judge(text)
        assert isinstance(verdict, Rejected)
        assert verdict.kind is kind
        assert told in verdict.message


def test_a_runaway_pattern_is_bounded():
    """A pattern that would backtrack for ever ends soon, as a refusal."""
    validator = Validator({"type": "string", "pattern": r"^(a|aa)+(?=b)c$"})
    assert isinstance(validator.judge(json.dumps("a" * 60)), Rejected)


@pytest.mark.parametrize(
    "schema",
    [{"type": "strin"}, {"$ref": "https://127.0.0.1:9/s.json"}, {"$ref": "file:///etc/passwd"}, {"$ref": "#/no"}, 5, {"pattern": "("}],
)  # fmt: skip
def test_what_is_no_schema_is_refused(schema):
    """A wrong schema, and one that points outside itself, is refused before anything is sent; nothing is fetched."""
    with pytest.raises(SchemaError):
        compile_schema(schema, "schema.json")


def test_schema_may_be_a_pydantic_model(tmp_path):
    """`package.module:Model` is read beside the job file; what is no model is refused."""
    (tmp_path / "shapes_of_test.py").write_text("from pydantic import BaseModel\nclass Point(BaseModel):\n    x: int\n")
    assert load_schema("shapes_of_test:Point", tmp_path)["required"] == ["x"]
    for wrong in ("shapes_of_test:Nothing", "no_such_module:X", "json:dumps"):
        with pytest.raises(SchemaError):
            load_schema(wrong, tmp_path)


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


@given(st.binary(max_size=60))
def test_any_bytes_are_json_or_a_plain_reason(raw):
    """Whatever bytes come, decoding gives a value or says why not; it never fails otherwise."""
    try:
        decode_json(raw)
    except JsonTextError as error:
        assert str(error)
