"""JSON Schema → Arrow type, and a validated answer → the shape of that type (see docs/decisions.md, 10).

A field is typed where its schema leaves one kind of value beside null. Everything else is JSON text and is told of, so
that each answer that meets the schema stands in `output` as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from rowmill.schemas.json_text import JsonTextField, encode_json
from rowmill.schemas.subschemas import KINDS, Document, Place, strings

EXTRA = "_extra"
INT64 = range(-(2**63), 2**63)
# A type of more fields than these, or nested deeper, costs more to write than its answers: the deepest are JSON text.
FIELDS_MOST = 1_000
DEPTH_MOST = 24
# How pydantic begins the pattern of a Decimal.
DECIMAL_PATTERN = "^(?!^[-+.]*$)"


class ShapeError(ValueError):
    """A schema-valid value that the Arrow type cannot hold, such as an integer beyond 64 bits."""


# Each is known by itself: comparing types takes longer than reading an answer.
@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """An Arrow type with the conversion of a validated JSON value into what pyarrow takes for it.

    `json_text_fields` are the fields that hold JSON text because no type holds all that their schema allows. `fields`
    are those of an object that the schema names.
    """

    type: pa.DataType
    convert: Callable[[Any], Any]
    json_text_fields: tuple[JsonTextField, ...] = ()
    fields: tuple[tuple[str, Shape], ...] = ()


def output_shape(schema: Mapping[str, Any] | bool | None) -> Shape:
    """Shape of the `output` column: typed from the schema, text where there is none. Everything is nullable."""
    if schema is None:
        return Shape(pa.string(), str)
    document = Document(schema)
    shape = _bounded(document)
    convert = shape.convert
    return replace(shape, convert=lambda value: None if value is None else convert(value))


def _bounded(document: Document) -> Shape:
    """The shape, typed as deep as the most fields allow."""
    try:
        return _Mapping(document, DEPTH_MOST).shape([document.root], "", 0, above=frozenset())
    except _TooMany:
        pass
    found = _json("", _TOO_MANY)
    for depth in range(1, DEPTH_MOST):
        try:
            found = _Mapping(document, depth).shape([document.root], "", 0, above=frozenset())
        except _TooMany:
            break
    return found


class _TooMany(Exception):
    """The type has more fields than may be."""


class _Mapping:
    """One walk over a schema, down to a depth."""

    def __init__(self, document: Document, depth_most: int) -> None:
        self._document, self._depth_most = document, depth_most
        self._fields = 0

    def shape(self, places: list[Place], pointer: str, depth: int, *, above: frozenset[frozenset[int]]) -> Shape:
        """Shape of what meets all these schemas. `above` are those on the way down: meeting them again is recursion."""
        self._fields += 1
        if self._fields > FIELDS_MOST:
            raise _TooMany
        kinds = self._document.kinds(places)
        named = kinds - {"null"}
        if named == {"string"}:
            return STRING
        if named == {"boolean"}:
            return BOOLEAN
        if named and named <= {"integer", "fraction"}:
            return INTEGER if named == {"integer"} else NUMBER
        if "string" in named and named <= {"string", "integer", "fraction"} and self._is_decimal(places):
            return DECIMAL
        if named not in ({"array"}, {"object"}):
            return _json(pointer, _several(kinds))
        kind = next(iter(named))
        if depth >= self._depth_most:
            return _json(pointer, _TOO_MANY)
        conjuncts = self._document.of_kind(places, kind)
        key = frozenset(id(place.schema) for place in conjuncts if _holds_others(place.schema))
        if key in above:
            return _json(pointer, "it holds others of its own kind")
        make = self._array if kind == "array" else self._object
        return make(conjuncts, pointer, depth + 1, above=above | {key})

    def _is_decimal(self, places: list[Place]) -> bool:
        return any(
            schema.get("format") == "decimal" or str(schema.get("pattern", "")).startswith(DECIMAL_PATTERN)
            for schema in strings(places, self._document)
        )

    def _array(self, places: list[Place], pointer: str, depth: int, *, above: frozenset[frozenset[int]]) -> Shape:
        items = []
        for place in places:
            told = place.schema.get("items") if isinstance(place.schema, Mapping) else None
            if isinstance(told, Mapping) and "prefixItems" not in place.schema:
                items.append(self._document.inside(told, place))
        if not items:
            return _json(pointer, "its items have no type of their own")
        inner = self.shape(items, f"{pointer}/*", depth, above=above)

        def convert(values: Any) -> list[Any]:
            if type(values) is not list:
                raise _misfit(values, "a list")
            return [None if value is None else inner.convert(value) for value in values]

        return Shape(pa.list_(inner.type), convert, inner.json_text_fields)

    def _object(self, places: list[Place], pointer: str, depth: int, *, above: frozenset[frozenset[int]]) -> Shape:
        fields: dict[str, list[Place]] = {}
        rests: list[Place] = []
        closed = False
        for place in places:
            schema = place.schema if isinstance(place.schema, Mapping) else {}
            for name, part in (schema.get("properties") or {}).items():
                fields.setdefault(name, []).append(self._document.inside(part, place))
            rest, patterns = _rest(schema)
            closed |= rest is False and not patterns
            for told in patterns if rest is False else [rest] if not patterns else []:
                if isinstance(told, Mapping) and told:
                    rests.append(self._document.inside(told, place))
        if not fields:
            if closed or len(rests) != 1:
                return _json(pointer, "it has no fields" if closed else "its fields have no names of their own")
            return self._map(rests, pointer, depth, above=above)
        if EXTRA in fields and not closed:
            return _json(
                pointer, f"a field of it is named {EXTRA}, which holds the fields that the schema does not name"
            )
        inner = {
            name: self.shape(parts, f"{pointer}/{_escaped(name)}", depth, above=above) for name, parts in fields.items()
        }
        return _struct(inner, is_open=not closed)

    def _map(self, places: list[Place], pointer: str, depth: int, *, above: frozenset[frozenset[int]]) -> Shape:
        inner = self.shape(places, f"{pointer}/*", depth, above=above)

        def convert(value: Any) -> list[tuple[str, Any]]:
            if type(value) is not dict:
                raise _misfit(value, "an object")
            return [(key, None if part is None else inner.convert(part)) for key, part in value.items()]

        return Shape(pa.map_(pa.string(), inner.type), convert, inner.json_text_fields)


def _holds_others(schema: Any) -> bool:
    names = ("properties", "items", "additionalProperties", "patternProperties")
    return isinstance(schema, Mapping) and any(isinstance(schema.get(name), Mapping) for name in names)


def _rest(schema: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """What a schema says of the fields that its `properties` does not name: of all of them, and by their patterns."""
    patterns = list((schema.get("patternProperties") or {}).values())
    if "additionalProperties" in schema:
        return schema["additionalProperties"], patterns
    # Those that another keyword speaks of count as evaluated: only where there is none are the others forbidden.
    others = ("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas")
    if not any(keyword in schema for keyword in others):
        return schema.get("unevaluatedProperties", True), patterns
    return True, patterns


def _struct(inner: Mapping[str, Shape], *, is_open: bool) -> Shape:
    types = [pa.field(name, shape.type) for name, shape in inner.items()]
    if is_open:
        types.append(pa.field(EXTRA, pa.string()))

    def convert(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise _misfit(value, "an object")
        shaped = {name: shape.convert(value[name]) for name, shape in inner.items() if value.get(name) is not None}
        if len(shaped) < len(value) and (extra := {name: value[name] for name in value if name not in inner}):
            if not is_open:
                raise ShapeError(f"the field {next(iter(extra))!r} is not one of the schema's")
            shaped[EXTRA] = encode_json(extra).decode()
        return shaped

    told = tuple(field for shape in inner.values() for field in shape.json_text_fields)
    return Shape(pa.struct(types), convert, told, tuple(inner.items()))


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _json(pointer: str, reason: str) -> Shape:
    return Shape(pa.string(), lambda value: encode_json(value).decode(), (JsonTextField(pointer, reason),))


def _several(kinds: frozenset[str]) -> str:
    if kinds == KINDS:
        return "its schema names no type"
    names = sorted("number" if kind == "fraction" else kind for kind in kinds - {"null"})
    if "number" in names and "integer" in names:
        names.remove("integer")
    return f"it may be {' or '.join(names)}" if names else "it is always null"


_TOO_MANY = f"the schema unfolds to more than {FIELDS_MOST:,} fields, or more than {DEPTH_MOST} levels"


def _misfit(value: Any, expected: str) -> ShapeError:
    return ShapeError(f"{encode_json(value)[:60].decode('utf-8', 'ignore')} is not {expected}")


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _misfit(value, "a string")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise _misfit(value, "true or false")
    return value


def _integer(value: Any) -> int:
    # JSON Schema calls 3.0 an integer.
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise _misfit(value, "an integer")
    if value not in INT64:
        raise ShapeError(f"the integer {value} does not fit 64 bits")
    return value


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is not int:
        raise _misfit(value, "a number")
    try:
        as_double = float(value)
    except OverflowError:
        as_double = 0.5
    if as_double != value:
        raise ShapeError(f"the number {str(value)[:60]} has more digits than a double holds")
    return as_double


def _decimal(value: Any) -> str:
    return value if type(value) is str else encode_json(value).decode()


STRING = Shape(pa.string(), _text)
INTEGER = Shape(pa.int64(), _integer)
NUMBER = Shape(pa.float64(), _number)
BOOLEAN = Shape(pa.bool_(), _truth)
# As told, so that the zero at the end of 12.50 stays.
DECIMAL = Shape(pa.string(), _decimal)
