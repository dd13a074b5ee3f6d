"""Evidence fields: which values of an answer come with a quote, by JSON pointers into the job's schema."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rowmill.schemas.errors import JobError
from rowmill.schemas.subschemas import UNIONS, Document, Place

EVERY = "*"
NAMED_MOST = 12
HINTS_MOST, HINT_DEPTH = 300, 6
Steps = tuple[str, ...]
# Names of fields, each with those below it; an empty one stands for all below it.
Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ValueRule:
    """What a schema says of a value that matters for finding it in a quote."""

    options: tuple[str, ...] = ()
    format: str | None = None


@dataclass(frozen=True, slots=True)
class EvidenceFields:
    """The fields of a job that come with evidence: `patterns` as the model is told, `*` for each item of a list.

    No pattern stands for every value. `names` are all pointers where each names one value, so that a schema can list
    them.
    """

    schema: Any
    patterns: tuple[str, ...]
    names: tuple[str, ...] = ()
    tree: Tree = field(default_factory=dict)

    def values(self, output: Any) -> Iterator[tuple[Steps, Any]]:
        """Steps and value of each value that needs evidence, in the order of the answer; null and blank text do not."""
        left: list[tuple[Steps, Any, Tree]] = [((), output, self.tree)]
        while left:
            steps, value, tree = left.pop()
            if isinstance(value, (dict, list)):
                inner = value.items() if isinstance(value, dict) else enumerate(value)
                found = []
                for name, part in inner:
                    step = str(name)
                    below = {} if not tree else tree.get(step, tree.get(EVERY))
                    if below is not None:
                        found.append(((*steps, step), part, below))
                left += reversed(found)
            elif not tree and value is not None and not (isinstance(value, str) and not value.strip()):
                yield steps, value

    def rule(self, steps: Steps) -> ValueRule:
        """What the schema says of the value at these steps."""
        document = Document(self.schema)
        places = [document.root]
        for step in steps:
            places = _inside(document, places, step)
        options: list[str] = []
        form = None
        for place in _schemas(document, places):
            options += [one for one in place.schema.get("enum") or () if isinstance(one, str)]
            form = form or place.schema.get("format")
        return ValueRule(tuple(dict.fromkeys(options)), form if isinstance(form, str) else None)


def evidence_fields(schema: Any, evidence: bool | Sequence[str]) -> EvidenceFields:
    """The fields that `evidence` names. Raises JobError naming those that the schema lacks."""
    if isinstance(evidence, bool):
        return EvidenceFields(schema, ())
    document = Document(schema)
    found: list[Steps] = []
    lacking: list[str] = []
    named = True
    for name in evidence:
        reached = _reach(document, _steps_named(name))
        if reached is None:
            lacking.append(name)
            continue
        steps, places = reached
        found.append(steps)
        named &= EVERY not in steps and not document.kinds(places) & {"object", "array"}
    if lacking:
        raise JobError(
            f"evidence names {', '.join(map(repr, lacking[:NAMED_MOST]))}, which the schema lacks",
            where="evidence",
            hint=_hint(document, lacking[0]),
        )
    pointers = tuple(dict.fromkeys(map(pointer, found)))
    return EvidenceFields(schema, pointers, pointers if named else (), _tree(found))


def pointer(steps: Iterable[str]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _steps_named(name: str) -> Steps:
    """A field as a job names it: a JSON pointer, or the bare name of a field of the answer itself."""
    if not name.startswith("/"):
        return (name,)
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in name[1:].split("/"))


def steps_said(field_said: str, known: Collection[Steps] = ()) -> Steps:
    """A field as a model names it: a JSON pointer, or what is meant by `lines[0].amount` and `#/output/amount`.

    What names one of the `known` values as it is said means that one: a job's own schema may have an `output`.
    """
    text = field_said.strip().removeprefix("#").removeprefix("$")
    if "/" in text:
        steps = tuple(step.replace("~1", "/").replace("~0", "~") for step in text.removeprefix("/").split("/"))
    else:
        steps = tuple(step for step in re.split(r"[.\[\]]+", text) if step)
    return steps[1:] if len(steps) > 1 and steps[0] == "output" and steps not in known else steps


def _reach(document: Document, steps: Steps) -> tuple[Steps, list[Place]] | None:
    """The steps, completed by those into lists, and the schemas they lead to; None where they lead nowhere."""
    places = [document.root]
    walked: list[str] = []
    for step in steps:
        inner = _inside(document, places, step)
        if not inner and step != EVERY:
            items = _inside(document, places, EVERY, lists_alone=True)
            inner = _inside(document, items, step)
            if inner:
                walked.append(EVERY)
        if not inner:
            return None
        walked.append(step)
        places = inner
    return tuple(walked), places


def _schemas(document: Document, places: Iterable[Place]) -> list[Place]:
    """All subschemas that may speak of a value: these, what they refer to, and each way that they leave open."""
    found: dict[int, Place] = {}
    left = list(places)
    while left:
        for place in document.conjuncts([left.pop()]):
            if id(place.schema) in found or not isinstance(place.schema, Mapping):
                continue
            found[id(place.schema)] = place
            ways = [part for keyword in UNIONS for part in place.schema.get(keyword) or ()]
            ways += [place.schema[keyword] for keyword in ("then", "else") if keyword in place.schema]
            left += [document.inside(part, place) for part in ways]
    return list(found.values())


def _inside(document: Document, places: Iterable[Place], step: str, *, lists_alone: bool = False) -> list[Place]:
    """The schemas of the field or item that a step names."""
    found: list[Place] = []
    for place in _schemas(document, places):
        schema = place.schema
        parts: list[Any] = []
        if step == EVERY or step.isdigit():
            items, prefix = schema.get("items"), schema.get("prefixItems")
            parts += [items] if isinstance(items, Mapping) else items if isinstance(items, list) else []
            parts += prefix if isinstance(prefix, list) else []
        if not lists_alone:
            parts += _fields(schema, step)
        found += [document.inside(part, place) for part in parts if isinstance(part, Mapping)]
    return found


def _fields(schema: Mapping[str, Any], step: str) -> list[Any]:
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and step in properties:
        named = properties[step]
        return [{} if named is True else named]
    found = [
        part
        for pattern, part in (schema.get("patternProperties") or {}).items()
        if step == EVERY or _matches(pattern, step)
    ]
    rest = schema.get("additionalProperties")
    return [*found, rest] if isinstance(rest, Mapping) else found


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return True


def _tree(found: Iterable[Steps]) -> Tree:
    """The named fields as a tree; one whose parent is named as well is in it already."""
    tree: Tree = {}
    ends: list[Tree] = []
    for steps in sorted(found, key=len):
        node = tree
        for at, step in enumerate(steps):
            if step in node and not node[step] and any(node[step] is end for end in ends):
                break
            node = node.setdefault(step, {})
            if at == len(steps) - 1:
                ends.append(node)
    return tree


def _hint(document: Document, lacking: str) -> str:
    known = list(_pointers(document))
    near = difflib.get_close_matches("/" + lacking.replace(".", "/").strip("/"), known, 1, 0.5)
    near = near or [one for one in known if one.endswith("/" + lacking.rpartition("/")[2])][:1]
    if near:
        return f"did you mean {near[0]!r}?"
    return f"its fields are: {', '.join(known[:NAMED_MOST]) or 'none'}"


def _pointers(document: Document) -> Iterator[str]:
    """Pointers to the fields of a schema, those nearest to the top first."""
    left: list[tuple[Steps, list[Place]]] = [((), [document.root])]
    told = 0
    while left and told < HINTS_MOST:
        steps, places = left.pop(0)
        if steps and steps[-1] != EVERY:
            told += 1
            yield pointer(steps)
        if len(steps) == HINT_DEPTH:
            continue
        names: dict[str, None] = {}
        for place in _schemas(document, places):
            if isinstance(place.schema.get("properties"), Mapping):
                names |= dict.fromkeys(place.schema["properties"])
            if "items" in place.schema:
                names[EVERY] = None
        left += [((*steps, name), _inside(document, places, name)) for name in names]
