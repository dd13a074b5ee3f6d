"""Subschemas: what the keywords of a JSON Schema say together, its references followed, by the rules of its draft.

What cannot be followed is left out: the rest then allows more values, never fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

# Drafts by what `$schema` declares; without it, and in OpenAPI 3.1, 2020-12 holds.
DRAFTS = {
    "http://json-schema.org/draft-04/schema": 4,
    "http://json-schema.org/draft-06/schema": 6,
    "http://json-schema.org/draft-07/schema": 7,
    "https://json-schema.org/draft/2019-09/schema": 2019,
    "https://json-schema.org/draft/2020-12/schema": 2020,
    "https://spec.openapis.org/oas/3.1/dialect/base": 2020,
}
NEWEST = 2020
ROOT = "urn:rowmill:schema"

# Kinds of JSON values, numbers parted by whether they are whole: `integer` allows one of them, `number` both.
KINDS = frozenset(("null", "boolean", "integer", "fraction", "string", "array", "object"))
_OF_TYPE = {**{kind: frozenset((kind,)) for kind in KINDS}, "number": frozenset(("integer", "fraction"))}
_OF_VALUE = {str: "string", bool: "boolean", type(None): "null", list: "array", dict: "object", int: "integer"}
UNIONS = ("anyOf", "oneOf")


class Place(NamedTuple):
    """A subschema, with what resolves the references in it (None where the document has none)."""

    schema: Any
    resolver: Any


def declared_draft(schema: Any) -> int | None:
    """The draft that a schema declares; None where nobody knows it."""
    declared = schema.get("$schema") if isinstance(schema, Mapping) else None
    if declared is None:
        return NEWEST
    address = str(declared).removesuffix("#")
    return DRAFTS.get(address) or DRAFTS.get(address.replace("https:", "http:", 1))


class Document:
    """One JSON Schema with all that stands in it."""

    def __init__(self, schema: Any) -> None:
        self.draft = declared_draft(schema) or NEWEST
        # By the identity of a subschema: where it stands decides what its references mean.
        self._kinds: dict[int, frozenset[str]] = {}
        self._places: dict[int, Place] = {}
        self._targets: dict[int, Place | None] = {}
        self.root = self._rooted(schema)

    def _rooted(self, schema: Any) -> Place:
        if not _refers(schema):
            return Place(schema, None)
        # 0.1 s that a schema without references need not wait.
        from referencing import Registry, jsonschema

        specifications = {
            4: jsonschema.DRAFT4,
            6: jsonschema.DRAFT6,
            7: jsonschema.DRAFT7,
            2019: jsonschema.DRAFT201909,
            2020: jsonschema.DRAFT202012,
        }
        self._specification = specifications[self.draft]
        registry = Registry().with_resource(ROOT, self._specification.create_resource(schema)).crawl()
        return self.inside(schema, Place(schema, registry.resolver(ROOT)))

    def inside(self, schema: Any, place: Place) -> Place:
        """A subschema that stands in another one."""
        if place.resolver is None or not isinstance(schema, Mapping):
            return Place(schema, place.resolver)
        if id(schema) not in self._places:
            resource = self._specification.create_resource(schema)
            self._places[id(schema)] = Place(schema, place.resolver.in_subresource(resource))
        return self._places[id(schema)]

    def target(self, place: Place) -> Place | None:
        """What the `$ref` of a schema names; None where it has none, or names what is not here."""
        if id(place.schema) not in self._targets:
            self._targets[id(place.schema)] = self._target(place)
        return self._targets[id(place.schema)]

    def _target(self, place: Place) -> Place | None:
        reference = place.schema.get("$ref")
        if not isinstance(reference, str) or place.resolver is None:
            return None
        from referencing.exceptions import Unresolvable

        try:
            found = place.resolver.lookup(reference)
        except (Unresolvable, ValueError, TypeError, AttributeError, LookupError):
            return None
        return self.inside(found.contents, Place(found.contents, found.resolver))

    def conjuncts(self, places: Iterable[Place]) -> list[Place]:
        """All schemas that a value must meet at once: these, and what their `$ref` and `allOf` name."""
        found: dict[int, Place] = {}
        met: set[int] = set()
        left = list(places)[::-1]
        while left:
            place = left.pop()
            if id(place.schema) in met or place.schema is True:
                continue
            met.add(id(place.schema))
            found[id(place.schema)] = place
            if not isinstance(place.schema, Mapping):
                continue
            target = self.target(place)
            if target is not None and self.draft <= 7:
                # There, what stands beside a `$ref` is not read.
                del found[id(place.schema)]
            more = [] if target is None else [target]
            if target is None or self.draft > 7:
                more += [self.inside(part, place) for part in _listed(place.schema.get("allOf"))]
            left += reversed(more)
        return list(found.values())

    def kinds(self, places: Iterable[Place]) -> frozenset[str]:
        """The kinds of values that these schemas together leave; perhaps more than they really do."""
        found = KINDS
        for place in self.conjuncts(places):
            found &= self._kinds_of(place)
        return found

    def _kinds_of(self, place: Place) -> frozenset[str]:
        known = self._kinds.get(id(place.schema))
        if known is not None:
            return known
        # Met again on the way: it says nothing new.
        self._kinds[id(place.schema)] = KINDS
        found = _own_kinds(place.schema)
        if isinstance(place.schema, Mapping):
            for keyword in UNIONS:
                if options := _listed(place.schema.get(keyword)):
                    found &= frozenset().union(*(self.kinds([self.inside(option, place)]) for option in options))
        self._kinds[id(place.schema)] = found
        return found

    def of_kind(self, places: Iterable[Place], kind: str) -> list[Place]:
        """All schemas that a value of this kind must meet: an option of a union too, where it alone allows the kind."""
        found = self.conjuncts(places)
        met = {id(place.schema) for place in found}
        for place in found:
            for keyword in UNIONS:
                options = [self.inside(option, place) for option in _listed(_get(place.schema, keyword))]
                fit = [option for option in options if kind in self.kinds([option])]
                if len(fit) == 1:
                    more = [one for one in self.conjuncts(fit) if id(one.schema) not in met]
                    met.update(id(one.schema) for one in more)
                    found += more
        return found


def _get(schema: Any, keyword: str) -> Any:
    return schema.get(keyword) if isinstance(schema, Mapping) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _own_kinds(schema: Any) -> frozenset[str]:
    if schema is False:
        return frozenset()
    if not isinstance(schema, Mapping):
        return KINDS
    found = KINDS
    if "type" in schema:
        names = [schema["type"]] if isinstance(schema["type"], str) else _listed(schema["type"])
        found = frozenset().union(*(_OF_TYPE.get(str(name), KINDS) for name in names))
    if isinstance(schema.get("enum"), list):
        found &= frozenset(kind_of(value) for value in schema["enum"])
    if "const" in schema:
        found &= frozenset((kind_of(schema["const"]),))
    return found


def kind_of(value: Any) -> str:
    """The kind of a JSON value."""
    if isinstance(value, float):
        return "integer" if value.is_integer() else "fraction"
    return _OF_VALUE.get(type(value), "object")


def _refers(schema: Any) -> bool:
    """Whether any reference stands in a schema, perhaps in a value that is none."""
    left: list[Any] = [schema]
    while left:
        part = left.pop()
        if isinstance(part, Mapping):
            if "$ref" in part:
                return True
            left += part.values()
        elif isinstance(part, list):
            left += part
    return False


def strings(schemas: Iterable[Place], document: Document) -> Iterator[Mapping[str, Any]]:
    """Of these schemas and the options of their unions, those that speak of text."""
    for place in document.conjuncts(schemas):
        if not isinstance(place.schema, Mapping):
            continue
        yield place.schema
        for keyword in UNIONS:
            for option in _listed(place.schema.get(keyword)):
                if isinstance(option, Mapping):
                    yield option
