"""JSON Schema → Arrow type, and a validated answer → the shape of that type (see docs/decisions.md, 10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rowmill.schemas.json_text import encode_json

EXTRA = "_extra"
INT64 = range(-(2**63), 2**63)


class ShapeError(ValueError):
    """A schema-valid value that the Arrow type cannot hold, such as an integer beyond 64 bits."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An Arrow type with the conversion of a validated JSON value into what pyarrow takes for it."""

    type: pa.DataType
    convert: Callable[[Any], Any]


def output_shape(schema: Mapping[str, Any] | bool | None) -> Shape:
    """Shape of the `output` column: typed from the schema, text where there is none. Everything is nullable."""
    if schema is None:
        return Shape(pa.string(), str)
    return _shape(schema, schema, ())


def _shape(schema: Any, root: Any, seen: tuple[str, ...]) -> Shape:
    """Shape of one schema. `seen` holds the `$ref`s on the way down: meeting one again is recursion."""
    if not isinstance(schema, Mapping):
        return JSON
    if "$ref" in schema or "$dynamicRef" in schema:
        return _referenced(schema, root, seen)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return _union(schema[keyword], root, seen)
    if "allOf" in schema:
        parts = schema["allOf"]
        return _shape(parts[0], root, seen) if len(parts) == 1 and "properties" not in schema else JSON
    kind = _kind(schema)
    if kind == "array":
        return _array(schema, root, seen)
    if kind == "object":
        return _object(schema, root, seen)
    return SCALARS.get(kind, JSON)


def _kind(schema: Mapping[str, Any]) -> str:
    """The one JSON type a schema allows beside null, or "" where there are several or none is told."""
    told = schema.get("type")
    if told is None:
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        told = [_type_of(value) for value in values] or ["object" if "properties" in schema else ""]
    kinds = {told} if isinstance(told, str) else set(told)
    kinds.discard("null")
    if kinds == {"integer", "number"}:
        return "number"
    return kinds.pop() if len(kinds) == 1 else ""


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return names.get(type(value), "other")


def _referenced(schema: Mapping[str, Any], root: Any, seen: tuple[str, ...]) -> Shape:
    ref = schema.get("$ref")
    target = _resolve(ref, root) if isinstance(ref, str) else None
    if target is None or ref in seen:
        return JSON
    return _shape(target, root, (*seen, str(ref)))


def _resolve(ref: str, root: Any) -> Any:
    """A local JSON pointer's target, None for anything else."""
    if not ref.startswith("#"):
        return None
    target = root
    for step in ref[1:].split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and step.isdigit() and int(step) < len(target):
            target = target[int(step)]
        elif isinstance(target, Mapping) and step in target:
            target = target[step]
        else:
            return None
    return target


def _union(options: list[Any], root: Any, seen: tuple[str, ...]) -> Shape:
    others = [option for option in options if option != {"type": "null"} and option != {"const": None}]
    return _shape(others[0], root, seen) if len(others) == 1 else JSON


def _array(schema: Mapping[str, Any], root: Any, seen: tuple[str, ...]) -> Shape:
    if "prefixItems" in schema or not isinstance(schema.get("items"), Mapping):
        return JSON
    inner = _shape(schema["items"], root, seen)

    def convert(values: list[Any]) -> list[Any]:
        return [None if value is None else inner.convert(value) for value in values]

    return Shape(pa.list_(inner.type), convert)


def _object(schema: Mapping[str, Any], root: Any, seen: tuple[str, ...]) -> Shape:
    fields = schema.get("properties", {})
    rest = schema.get("additionalProperties", schema.get("unevaluatedProperties", True))
    if "patternProperties" in schema or EXTRA in fields:
        return JSON
    if not fields:
        return _map(rest, root, seen) if isinstance(rest, Mapping) and rest else JSON
    inner = {name: _shape(part, root, seen) for name, part in fields.items()}
    types = [pa.field(name, shape.type) for name, shape in inner.items()]
    if rest is not False:
        types.append(pa.field(EXTRA, pa.string()))

    def convert(value: dict[str, Any]) -> dict[str, Any]:
        shaped = {name: shape.convert(value[name]) for name, shape in inner.items() if value.get(name) is not None}
        if len(shaped) < len(value) and (extra := {name: value[name] for name in value if name not in inner}):
            shaped[EXTRA] = encode_json(extra).decode()
        return shaped

    return Shape(pa.struct(types), convert)


def _map(values: Any, root: Any, seen: tuple[str, ...]) -> Shape:
    inner = _shape(values, root, seen)

    def convert(value: dict[str, Any]) -> list[tuple[str, Any]]:
        return [(key, None if part is None else inner.convert(part)) for key, part in value.items()]

    return Shape(pa.map_(pa.string(), inner.type), convert)


def _json(value: Any) -> str:
    return encode_json(value).decode()


def _integer(value: Any) -> int:
    # JSON Schema calls 3.0 an integer; Arrow would cut 1.5, which the validator has refused before.
    whole = int(value)
    if whole not in INT64:
        raise ShapeError(f"the integer {whole} does not fit 64 bits")
    return whole


JSON = Shape(pa.string(), _json)
SCALARS = {
    "string": Shape(pa.string(), str),
    "integer": Shape(pa.int64(), _integer),
    "number": Shape(pa.float64(), float),
    "boolean": Shape(pa.bool_(), bool),
}
