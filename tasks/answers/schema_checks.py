"""Schema checks: what can be said of a schema before anything is paid for an answer to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
from jsonschema_rs.canonical import UnsatisfiableReason, find_unsatisfiable

from rowmill.schemas.errors import SchemaError
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.subschemas import NEWEST, declared_draft, kind_of
from rowmill.tasks.answers.dialects import NAMES, TYPES, subschemas
from rowmill.tasks.answers.schema_size import is_searchable

# Keywords of all drafts, and those of OpenAPI, Google and pydantic that say nothing of a value.
KEYWORDS = frozenset((
    "$anchor", "$comment", "$defs", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef",
    "$ref", "$schema", "$vocabulary", "additionalItems", "additionalProperties", "allOf", "anyOf", "const",
    "contains", "contentEncoding", "contentMediaType", "contentSchema", "default", "definitions", "dependencies",
    "dependentRequired", "dependentSchemas", "deprecated", "description", "else", "enum", "examples",
    "exclusiveMaximum", "exclusiveMinimum", "format", "id", "if", "items", "maxContains", "maxItems", "maxLength",
    "maxProperties", "maximum", "minContains", "minItems", "minLength", "minProperties", "minimum", "multipleOf",
    "not", "oneOf", "pattern", "patternProperties", "prefixItems", "properties", "propertyNames", "readOnly",
    "required", "then", "title", "type", "unevaluatedItems", "unevaluatedProperties", "uniqueItems", "writeOnly",
    "discriminator", "enumDescriptions", "enumNames", "example", "externalDocs", "nullable", "propertyOrdering",
    "xml",
))  # fmt: skip
# What another draft knows and 2020-12 does not read, with its word for it.
MOVED = {
    "dependencies": "dependentRequired or dependentSchemas",
    "$recursiveRef": "$dynamicRef",
    "$recursiveAnchor": "$dynamicAnchor",
}
# How near an unknown keyword comes to a known one to be taken for a slip of it.
LIKENESS = 0.75
# Below these, a schema that nothing meets may be meant.
_CHOICES = ("/not", "/if", "/then", "/else", "/anyOf/", "/oneOf/", "/$defs/", "/definitions/")


def refuse_faulty(schema: Any, where: str) -> None:
    """Raises SchemaError for a keyword that is misspelt or means nothing in the schema's draft, and for a schema or a
    field of it that no value meets.
    """
    draft = declared_draft(schema) or NEWEST
    for pointer, part in subschemas(schema, ""):
        for keyword in part:
            if (hint := _slip(str(keyword), draft)) is not None:
                raise SchemaError(f"unknown keyword {keyword!r}{_at(pointer)}", where=where, hint=hint)
        _refuse_values(part, pointer, where)
    _refuse_unsatisfiable(schema, where)


def faulty_hint(schema: Any, error: Any) -> str:
    """What to do about a schema that its draft's own schema refuses."""
    path = list(getattr(error, "instance_path", []))
    value = getattr(error, "instance", None)
    if path and path[-1] == "type" and isinstance(value, str):
        near = _near_type(value)
        return f"did you mean {near!r}?" if near else f"types are {', '.join(TYPES)}"
    if path and path[-1] == "items" and isinstance(value, list):
        return "a tuple is prefixItems in 2020-12; or declare the draft that this was written for with `$schema`"
    if path and path[-1] in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
        return "true and false are draft-04's: declare it with `$schema`, or give the bound itself"
    return f"JSON Schema {NAMES[declared_draft(schema) or NEWEST]} is expected"


def _near_type(name: str) -> str | None:
    short = {"int": "integer", "str": "string", "float": "number", "bool": "boolean", "dict": "object", "list": "array"}
    near = difflib.get_close_matches(name.lower(), TYPES, 1, 0.6)
    return short.get(name.lower()) or (near[0] if near else None)


def unknown_keywords(schema: Any) -> Iterator[str]:
    """Keywords that say nothing to a validator and are no slips: an extension, or a word from elsewhere."""
    for pointer, part in subschemas(schema, ""):
        for keyword in part:
            if keyword not in KEYWORDS and not str(keyword).startswith(("x-", "$")):
                yield f"the keyword {keyword!r}{_at(pointer)} of the schema is no JSON Schema: nothing is checked by it"


def _at(pointer: str) -> str:
    return f" at {pointer}" if pointer else ""


def _slip(keyword: str, draft: int) -> str | None:
    """What was meant by a keyword that is a slip; None where it is none."""
    if draft == NEWEST and keyword in MOVED:
        return f"JSON Schema {NAMES[draft]} reads {MOVED[keyword]}: write that, or declare the draft with `$schema`"
    if keyword in KEYWORDS or keyword.startswith("x-"):
        return None
    near = difflib.get_close_matches(keyword, KEYWORDS, 1, LIKENESS)
    return f"did you mean {near[0]!r}? An extension begins with x-" if near else None


def _refuse_values(schema: Mapping[str, Any], pointer: str, where: str) -> None:
    """Values of enum or const that the type beside them forbids."""
    named = schema.get("type")
    types = [named] if isinstance(named, str) else named if isinstance(named, list) else None
    if types is None:
        return
    allowed = {*types, *(("integer", "fraction") if "number" in types else ())}
    values = schema["enum"] if isinstance(schema.get("enum"), list) else []
    for value in [*values, *([schema["const"]] if "const" in schema else [])]:
        if kind_of(value) not in allowed:
            keyword = "const" if value not in values else "enum"
            hint = 'add "null" to type' if value is None else "put text in quotes, or change type"
            raise SchemaError(
                f"{keyword}{_at(pointer)} holds {encode_json(value).decode()[:60]}, which type {' or '.join(types)} "
                "forbids",
                where=where,
                hint=hint,
            )


def _refuse_unsatisfiable(schema: Any, where: str) -> None:
    if not is_searchable(schema):
        return
    try:
        found = find_unsatisfiable(schema, offline=True)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
        # What is wrong with it is told where it is compiled.
        return
    parts = dict(subschemas(schema, ""))
    # The schema itself last: what in it is to blame is nearer to the mistake.
    for pointer, reason in sorted(found.items(), key=lambda one: -len(one[0])):
        if pointer and (_is_meant(reason) or any(choice in f"{pointer}/" for choice in _CHOICES)):
            continue
        raise SchemaError(
            f"no value can meet the schema{_at(pointer)}: {_forbidden(parts.get(pointer)) or _why(reason)}",
            where=where,
            hint="every answer would be invalid: correct the schema",
        )


def _forbidden(schema: Any) -> str | None:
    """The field that is required and forbidden at once, which is how most schemas become impossible."""
    if not isinstance(schema, Mapping) or schema.get("additionalProperties") is not False:
        return None
    known = schema.get("properties") or {}
    missing = [name for name in schema.get("required") or () if name not in known]
    if not missing or schema.get("patternProperties"):
        return None
    return f"{missing[0]!r} is required, and additionalProperties: false forbids it"


def _is_meant(reason: UnsatisfiableReason) -> bool:
    """Whether a field is forbidden in so many words: by false, by `not`, or by what a reference names."""
    match reason:
        case UnsatisfiableReason.Literal():
            return True
        case UnsatisfiableReason.Empty(cause):
            return bool({"not", "$ref", "$dynamicRef"}.intersection(cause.keywords))
        case _:
            return False


def _why(reason: UnsatisfiableReason) -> str:
    match reason:
        case UnsatisfiableReason.Conflict(causes):
            parts = [f"{', '.join(cause.keywords) or 'the subschema'}{_at(cause.pointer)}" for cause in causes]
            return f"these exclude each other: {'; '.join(parts)}"
        case UnsatisfiableReason.Empty(cause):
            return f"{', '.join(cause.keywords) or 'a subschema'}{_at(cause.pointer)} allows nothing"
        case _:
            return "it is false"
