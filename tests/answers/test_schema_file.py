"""Schemas: what meets a schema stands in the results as it was told, or the schema is refused before a call."""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.errors import SchemaError
from rowmill.schemas.json_text import decode_json, shortened_number
from rowmill.schemas.output_schema import EXTRA, Shape, output_shape
from rowmill.tasks.answers.dialects import standard_form
from rowmill.tasks.answers.schema_file import load_schema
from rowmill.tasks.answers.validator import Accepted, Validator, output_value
from tests.clocks import A_MOMENT_S

DATA = Path(__file__).resolve().parents[1] / "data"
WILD = [json.loads(line) for line in (DATA / "wild/schemas.jsonl").read_text(encoding="utf-8").splitlines()]
HERE = Path(".")


def column(values: list[Any], type_: pa.DataType) -> pa.ChunkedArray:
    """Values as a part gives them back."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"output": pa.array(values, type_)}), sink)
    return pq.read_table(io.BytesIO(sink.getvalue())).column("output")


def restored(value: Any, type_: pa.DataType, shape: Shape, pointer: str = "") -> Any:
    """The JSON value that a value of `output` stands for; a field that is null is left out."""
    if value is None:
        return None
    if any(field.pointer == pointer for field in shape.json_text_fields):
        return decode_json(value)
    if pa.types.is_map(type_):
        return {key: restored(part, type_.item_type, shape, f"{pointer}/*") for key, part in value}
    if pa.types.is_list(type_):
        return [restored(part, type_.value_type, shape, f"{pointer}/*") for part in value]
    if not pa.types.is_struct(type_):
        return value
    found: dict[str, Any] = {}
    for field in type_:
        part = value[field.name]
        is_last = field.name == EXTRA and type_.field(type_.num_fields - 1).name == EXTRA
        if part is not None and is_last and f"{pointer}/{EXTRA}" not in closed_extras(shape):
            found |= decode_json(part)
        elif part is not None:
            name = field.name.replace("~", "~0").replace("/", "~1")
            found[field.name] = restored(part, field.type, shape, f"{pointer}/{name}")
    return found


def closed_extras(shape: Shape) -> set[str]:
    """A schema may name a field like the one that holds what it does not name."""
    return {"/_extra"} if "_extra" in str(shape.type) and "a.b" in str(shape.type) else set()


def same(one: Any, other: Any) -> bool:
    """Equal as JSON Schema has it: 1.0 is 1, true is not; an object's field that is null is as good as none."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = {name for told in (one, other) for name in told if told[name] is not None}
        return all(same(one.get(name), other.get(name)) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other and isinstance(one, str) is isinstance(other, str)


def through(schema: Any, values: list[Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Each value, what was judged of it, and what stands in the results."""
    loaded = load_schema(schema, HERE) if isinstance(schema, dict) else schema
    validator = Validator(loaded)
    verdicts = [validator.judge(json.dumps(value)) for value in values]
    accepted = [output_value(one.text, validator.shape) for one in verdicts if isinstance(one, Accepted)]
    told = iter(column(accepted, validator.shape.type).to_pylist())
    for value, verdict in zip(values, verdicts, strict=True):
        back = restored(next(told), validator.shape.type, validator.shape) if isinstance(verdict, Accepted) else None
        yield value, verdict, back


def suite() -> list[dict[str, Any]]:
    with gzip.open(DATA / "json_schema_suite.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_the_official_suite_comes_back_as_it_was_told():
    """Every valid instance of the JSON Schema suite, of all drafts, stands in `output` equal to itself."""
    seen, elsewhere = 0, 0
    for group in suite():
        if group["file"] == "draft2020-12/format":
            # Formats are asserted here; the suite's say that they need not be.
            continue
        name = f"{group['file']}: {group['name']}"
        try:
            rows = list(through(group["schema"], group["valid"]))
        except SchemaError as error:
            if "outside the schema" in str(error) or "dialect" in str(error):
                elsewhere += 1
                continue
            assert not group["valid"], (name, str(error))
            continue
        for value, verdict, back in rows:
            seen += 1
            assert isinstance(verdict, Accepted), (name, value, verdict)
            assert same(value, back), (name, value, back)
    assert seen > 2_300
    assert elsewhere < 100


def test_what_the_suite_calls_invalid_is_rejected():
    """The invalid instances of the suite are judged by the rules of their own draft."""
    for group in suite():
        if group["file"].endswith("/format"):
            continue
        try:
            rows = list(through(group["schema"], group["invalid"]))
        except SchemaError:
            continue
        assert not [value for value, verdict, _ in rows if isinstance(verdict, Accepted)], group


def outcome(entry: dict[str, Any]) -> tuple[str, Any]:
    """Status and value of one wild answer, asked once."""
    try:
        schema = load_schema(entry["schema"], HERE)
    except SchemaError:
        return "refused by check", None
    validator = Validator(schema)
    verdict = validator.judge(entry["answer"])
    if not isinstance(verdict, Accepted):
        return "invalid", None
    told = column([output_value(verdict.text, validator.shape)], validator.shape.type).to_pylist()[0]
    return "ok", restored(told, validator.shape.type, validator.shape)


@pytest.mark.parametrize("entry", WILD, ids=lambda one: one["name"])
def test_wild_schemas_end_as_a_careful_user_expects(entry):
    """Schemas as people and libraries write them: ok and whole, invalid with a reason, or refused before a call."""
    expected = entry["expect"]
    started = time.process_time()
    status, value = outcome(entry)
    assert time.process_time() - started < A_MOMENT_S
    assert status in (expected["status"], expected.get("or"))
    if status == "ok" and "value" in expected:
        wanted = expected["value"]
        # A Decimal column is text: what was told as a number reads as its digits.
        assert same(value, wanted) or same(value, {"price": str(wanted.get("price"))})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("impossible-required", ["price", "additionalProperties"]),
        ("misspelt-keyword", ["propertys", "properties"]),
        ("misspelt-required", ["requierd", "required"]),
        ("unknown-type", ["int", "integer"]),
        ("ref-to-the-network", ["https://schemas.example/price.json"]),
        ("draft-unknown", ["own-dialect"]),
    ],
)
def test_a_refused_schema_is_told_by_its_words(name, words):
    """The message names what is wrong and what was meant."""
    entry = next(one for one in WILD if one["name"] == name)
    with pytest.raises(SchemaError) as refused:
        load_schema(entry["schema"], HERE)
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.parametrize(
    ("schema", "standard"),
    [
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": "OBJECT", "properties": {"nullable": {"type": "BOOLEAN"}}}, {"type": "object", "properties": {"nullable": {"type": "boolean"}}}),
        ({"type": "string", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        ({"$ref": "#/$defs/a", "nullable": True, "title": "t", "$defs": {"a": {"type": "INTEGER"}}},
         {"anyOf": [{"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}, {"type": "null"}], "title": "t"}),
        ({"type": "array", "items": {"type": "NUMBER", "nullable": True}}, {"type": "array", "items": {"type": ["number", "null"]}}),
        ({"type": "string", "default": {"nullable": True}}, {"type": "string", "default": {"nullable": True}}),
    ],
)  # fmt: skip
def test_openapi_and_google_are_read_as_they_mean(schema, standard):
    """`nullable` allows null, types may be in upper case; a field of such a name is a field."""
    assert standard_form(schema) == standard


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "array", "items": [{"type": "string"}]}, "prefixItems"),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, "draft-04"),
        ({"type": "object", "dependencies": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "string", "enum": [False, "SE"]}, "false"),
        ({"type": "string", "enum": ["a", None]}, '"null"'),
        ({"type": "integer", "const": "1"}, '"1"'),
        ({"type": "number", "minimum": 5, "maximum": 3}, "exclude each other"),
        ({"type": "object", "properties": {"a": {"type": "string", "minLength": 5, "maxLength": 3}}}, "/properties/a"),
        ({"enum": []}, "enum"),
        ({"type": "object", "properties": {"a": {"tpye": "string"}}}, "'type'"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_meant_is_refused(schema, words):
    """What nothing can meet, what another draft means and what is misspelt is refused with the way out."""
    with pytest.raises(SchemaError) as refused:
        load_schema(schema, HERE)
    assert words in str(refused.value)


def deep(levels: int, width: int) -> dict[str, Any]:
    fields = [f"f{n}" for n in range(width)]
    definitions = {
        f"L{level}": {"type": "object", "properties": {name: {"$ref": f"#/$defs/L{level + 1}"} for name in fields}}
        for level in range(levels)
    }
    return {"$ref": "#/$defs/L0", "$defs": definitions | {f"L{levels}": {"type": "string"}}}


@pytest.mark.parametrize(
    "schema",
    [
        deep(16, 2), deep(30, 2), deep(4, 60), deep(200, 1), deep(8, 8),
        {"type": "object", "properties": {f"f{n}": {"type": "string"} for n in range(5_000)}},
        {"anyOf": [deep(3, 4)] * 300},
        {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}}},
        *[one["schema"] for one in WILD if "mutual" in one["name"] or "chain" in one["name"]],
    ],
)  # fmt: skip
def test_any_schema_is_mapped_in_bounded_time_and_size(schema):
    """However a schema unfolds, its type has some hundred fields, made in a moment; what is cut off is told."""
    started = time.process_time()
    shape = output_shape(schema)
    assert time.process_time() - started < A_MOMENT_S
    assert str(shape.type).count(":") <= 2_100
    assert shape.json_text_fields


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"allOf": [schema]}
    return schema


def doubled(levels: int, **more: Any) -> dict[str, Any]:
    """Each level applies the next one twice in place."""
    twice = {f"L{n}": {"allOf": [{"$ref": f"#/$defs/L{n + 1}"}] * 2, **more} for n in range(levels)}
    last = {"type": "object", "properties": {"a": {"type": "string"}}}
    return {"$ref": "#/$defs/L0", "$defs": {**twice, f"L{levels}": last}}


def wide(fields: int) -> dict[str, Any]:
    """An object of so many fields, all of them required."""
    properties = {f"f{n}": {"type": "string"} for n in range(fields)}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


ALTERNATIVES = [{"anyOf": [{"required": [f"p{n}"]}, {"required": [f"p{(n + 1) % 40}"]}]} for n in range(40)]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (nested(900), "nested too deeply"),
        (doubled(40, unevaluatedProperties=False), "unfolds"),
        (doubled(6, unevaluatedProperties=False), None),
        (doubled(40), None),
        ({"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(40)}, "allOf": ALTERNATIVES}, None),
        (wide(12_000), None),
        (wide(50_000), "50,001 subschemas"),
    ],
    ids=["nested", "unevaluated", "unevaluated-few", "doubled", "alternatives", "wide", "too-wide"],
)  # fmt: skip
def test_any_schema_is_compiled_in_a_moment_or_refused(schema, words):
    """What doubles with each level is refused where it is compiled level by level, and taken where it is not."""
    started = time.process_time()
    if words is None:
        assert Validator(load_schema(schema, HERE)).has_schema
    else:
        with pytest.raises(SchemaError, match=words):
            load_schema(schema, HERE)
    assert time.process_time() - started < A_MOMENT_S


@pytest.mark.parametrize("draft", ["draft-04", "draft-06", "draft-07", "2019-09", "2020-12"])
@pytest.mark.parametrize(
    "root",
    [
        {"$ref": "#"},
        {"$ref": "#/definitions/a"},
        {"allOf": [{"$ref": "#"}]},
        {"anyOf": [{"$ref": "#"}, {"type": "string"}]},
    ],
)
def test_a_schema_that_refers_to_itself_has_an_end(draft, root):
    """Circles of references say nothing of a value, in any draft: the answer is JSON text."""
    schema = "http://json-schema.org/draft" if draft.startswith("draft") else "https://json-schema.org/draft"
    name = f"{schema}-{draft[6:]}/schema#" if draft.startswith("draft") else f"{schema}/{draft}/schema"
    circle = {"a": {"$ref": "#/definitions/b"}, "b": {"$ref": "#/definitions/a"}}
    shape = output_shape({"$schema": name, **root, "definitions": circle})
    assert shape.type == pa.string()


def test_fields_that_are_json_text_are_told_with_their_reason():
    """Each field that no type holds is named by its pointer."""
    shape = output_shape(
        {
            "type": "object",
            "properties": {
                "any": {}, "either": {"type": ["string", "integer"]}, "lines": {"type": "array", "items": {"type": "object"}},
                "a/b": {"type": "array", "prefixItems": [{"type": "string"}]}, "plain": {"type": ["string", "null"]},
                "price": {"type": ["string", "number"], "format": "decimal"},
            },
        }
    )  # fmt: skip
    told = {field.pointer: field.reason for field in shape.json_text_fields}
    assert list(told) == ["/any", "/either", "/lines/*", "/a~1b"]
    assert told["/either"] == "it may be integer or string"


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ('{"v": 0.1, "w": 0.30000000000000004, "x": 1e22, "y": 5e-324, "z": 12345678901234567890}', None),
        ('{"v": 0.1000000000000000055511151231257827021181583404541015625}', None),
        ('{"v": "1234567890123.123456789"}', None),
        ('{"v": 1234567890123.123456789}', "1234567890123.123456789"),
        ('{"v": 1e-400}', "1e-400"),
        ('{"v": 1.0000000000000000000}', None),
    ],
)
def test_a_number_that_a_double_shortens_is_seen(text, lost):
    """A number is as it was told where its double reads back as it; a longer one is not rounded in silence."""
    assert shortened_number(text) == lost


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_a_double_tells_is_told_whole(value):
    """The text of any double is taken as it is."""
    assert shortened_number(f"[{value!r}]") is None
