"""Dialects: a schema is read by the draft that it declares; OpenAPI's and Google's ways are put into JSON Schema's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from rowmill.schemas.errors import SchemaError
from rowmill.schemas.subschemas import DRAFTS, declared_draft

Compiled = (
    jsonschema_rs.Draft4Validator
    | jsonschema_rs.Draft6Validator
    | jsonschema_rs.Draft7Validator
    | jsonschema_rs.Draft201909Validator
    | jsonschema_rs.Draft202012Validator
)
_VALIDATORS: dict[int, type[Compiled]] = {
    4: jsonschema_rs.Draft4Validator,
    6: jsonschema_rs.Draft6Validator,
    7: jsonschema_rs.Draft7Validator,
    2019: jsonschema_rs.Draft201909Validator,
    2020: jsonschema_rs.Draft202012Validator,
}
NAMES = {4: "draft-04", 6: "draft-06", 7: "draft-07", 2019: "2019-09", 2020: "2020-12"}
TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
# Where subschemas stand: alone, in a list, under names of the user's own.
ALONE = (
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
LISTED = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
NAMED = ("$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties")


def validator_class(schema: Any, where: str) -> type[Compiled]:
    """The validator of the draft that a schema declares. Raises SchemaError for one that nobody here knows."""
    draft = declared_draft(schema)
    if draft is None:
        raise SchemaError(
            f"the dialect {str(schema['$schema'])[:200]!r} is unknown",
            where=where,
            hint=f"declare one of {', '.join(DRAFTS)}, or leave `$schema` out for 2020-12",
        )
    return _VALIDATORS[draft]


def standard_form(schema: Any) -> Any:
    """The same schema in JSON Schema's own words.

    Where no dialect is declared, OpenAPI's `nullable: true` allows null, and types may be written in upper case as
    Google's pages do. Sources: OpenAPI 3.0.3, Schema Object; the Gemini API's `Schema`.
    """
    if not isinstance(schema, Mapping) or "$schema" in schema or not _is_foreign(schema):
        return schema
    return _standard(schema)


def _is_foreign(schema: Any) -> bool:
    return any(
        "nullable" in part or any(name not in TYPES for name in _types(part)) for _, part in subschemas(schema, "")
    )


def _types(schema: Mapping[str, Any]) -> list[str]:
    names = schema.get("type", [])
    return [name for name in (names if isinstance(names, list) else [names]) if isinstance(name, str)]


def _standard(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    for keyword in ALONE:
        if isinstance(made.get(keyword), Mapping):
            made[keyword] = _standard(made[keyword])
    for keyword in LISTED:
        if isinstance(made.get(keyword), list):
            made[keyword] = [_standard(part) for part in made[keyword]]
    for keyword in NAMED:
        if isinstance(made.get(keyword), Mapping):
            made[keyword] = {name: _standard(part) for name, part in made[keyword].items()}
    if "type" in made:
        names = [name.lower() if name.lower() in TYPES else name for name in _types(made)]
        made["type"] = names if isinstance(made["type"], list) else names[0] if names else made["type"]
    return _nullable(made) if made.pop("nullable", False) is True else made


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, null allowed beside what it allows."""
    if "type" in schema:
        names = _types(schema)
        schema["type"] = names if "null" in names else [*names, "null"]
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    if any(keyword in schema for keyword in ("$ref", "allOf", "anyOf", "oneOf", "const")):
        described: dict[str, Any] = {name: schema.pop(name) for name in ("title", "description") if name in schema}
        return {"anyOf": [schema, {"type": "null"}]} | described
    return schema


def subschemas(schema: Any, pointer: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A schema and all that stand in it, with their JSON pointers; what is a value (enum, default) is none."""
    if not isinstance(schema, Mapping):
        return
    yield pointer, schema
    for keyword in ALONE:
        yield from subschemas(schema.get(keyword), f"{pointer}/{keyword}")
    for keyword in LISTED:
        if isinstance(schema.get(keyword), list):
            for at, part in enumerate(schema[keyword]):
                yield from subschemas(part, f"{pointer}/{keyword}/{at}")
    for keyword in NAMED:
        if isinstance(schema.get(keyword), Mapping):
            for name, part in schema[keyword].items():
                yield from subschemas(part, f"{pointer}/{keyword}/{str(name).replace('~', '~0').replace('/', '~1')}")
