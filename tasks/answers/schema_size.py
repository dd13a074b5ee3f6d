"""Schema size: how far a schema unfolds where it is applied in place, counted without unfolding it.

A validator that tracks what was evaluated walks each way through `$ref`, allOf and their like by itself, and a look for
contradictions multiplies alternatives out. Both double with each level of a schema that names the next level twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rowmill.schemas.errors import SchemaError
from rowmill.tasks.answers.dialects import subschemas

# So many ways take a tenth of a second to compile.
WAYS_MOST = 4_096
# Alternatives multiplied out beyond this are not looked through for contradictions.
PRODUCT_MOST = 10_000
# Nor is a schema of more places, or with an object of more properties times required ones: the look takes a second.
SEARCHED_MOST, PAIRS_MOST = 20_000, 10_000_000
# A schema of so many places is mapped in a second. FHIR's, the largest in wide use, has half as many.
PLACES_MOST = 50_000
_COUNT_MOST = 10**9
_EACH = ("allOf", "anyOf", "oneOf")
_ONE = ("not", "if", "then", "else")


class _Counter:
    """Ways through a schema's places, each counted once."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[int, tuple[int, int]] = {}

    def of(self, schema: Any) -> tuple[int, int]:
        """The ways through a schema, and its alternatives multiplied out; a place within itself counts once."""
        if not isinstance(schema, dict):
            return 1, 1
        if (known := self._known.get(id(schema))) is not None:
            return known
        self._known[id(schema)] = 1, 1
        ways, product = 1, 1
        for keyword, parts in self._in_place(schema):
            counts = [self.of(part) for part in parts]
            ways += sum(count for count, _ in counts)
            if keyword in ("anyOf", "oneOf"):
                product *= sum(count for _, count in counts) or 1
            else:
                for _, count in counts:
                    product *= count
            ways, product = min(ways, _COUNT_MOST), min(product, _COUNT_MOST)
        self._known[id(schema)] = ways, product
        return ways, product

    def _in_place(self, schema: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
        for keyword in _EACH:
            if isinstance(parts := schema.get(keyword), list):
                yield keyword, parts
        yield "", [schema[keyword] for keyword in _ONE if keyword in schema]
        for keyword in ("dependentSchemas", "dependencies"):
            if isinstance(parts := schema.get(keyword), dict):
                yield keyword, list(parts.values())
        if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#"):
            yield "$ref", [self._target(reference)]

    def _target(self, reference: str) -> Any:
        found = self._root
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict):
                found = found.get(name)
            else:
                return None
        return found


def is_searchable(schema: Any) -> bool:
    """Whether contradictions in a schema are found in a moment."""
    parts = [part for _, part in subschemas(schema, "")]
    if len(parts) > SEARCHED_MOST or any(_pairs(part) > PAIRS_MOST for part in parts):
        return False
    counter = _Counter(schema)
    counts = map(counter.of, parts)
    return all(ways <= WAYS_MOST and product <= PRODUCT_MOST for ways, product in counts)


def _pairs(schema: Any) -> int:
    """Properties times required ones: what is compared where an object is searched."""
    names, required = (
        schema.get(keyword) if isinstance(schema, dict) else () for keyword in ("properties", "required")
    )
    return len(names) * len(required) if isinstance(names, dict) and isinstance(required, list) else 0


def refuse_too_large(schema: Any, where: str) -> None:
    """Raises SchemaError for a schema that takes long to compile or to map to a type."""
    places = sum(1 for _ in subschemas(schema, ""))
    if places > PLACES_MOST:
        raise SchemaError(
            f"the schema holds {places:,} subschemas; {PLACES_MOST:,} may be",
            where=where,
            hint="ask for fewer fields in each job, or take several into one with patternProperties or $ref",
        )
    counter = _Counter(schema)
    found = [(pointer, counter.of(part)[0]) for pointer, part in subschemas(schema, "") if _tracks(part)]
    pointer, ways = max(found, key=lambda one: one[1], default=("", 0))
    if ways > WAYS_MOST:
        raise SchemaError(
            f"the schema{f' at {pointer}' if pointer else ''} unfolds in {ways:,} ways or more, and its unevaluated "
            "keywords follow each of them",
            where=where,
            hint="use additionalProperties in place of unevaluatedProperties, or name each level once",
        )


def _tracks(schema: Any) -> bool:
    return isinstance(schema, dict) and ("unevaluatedProperties" in schema or "unevaluatedItems" in schema)
