"""Answers: a JSON Schema → an instance, a pure function of the prompt. Plausible, never random."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rowmill.sandbox.chance import between, fraction
from rowmill.sandbox.prompt import without_json

DEPTH_MOST = 12
_WORD = re.compile(r"[^\W\d_][\w'-]*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")


@dataclass(frozen=True, slots=True)
class Muse:
    """What a prompt offers to make an answer of."""

    text: str
    words: tuple[str, ...]
    numbers: tuple[float, ...]

    @classmethod
    def of(cls, text: str) -> Muse:
        plain = without_json(text)
        return cls(plain, tuple(_WORD.findall(plain)[:2_000]), tuple(map(float, _NUMBER.findall(plain)[:200])))

    def snippet(self, least: int, most: int, *draw: object) -> str:
        """Some words of the prompt, between `least` and `most` characters."""
        words = self.words or ("nothing",)
        start = between(0, len(words) - 1, self.text, *draw)
        made = " ".join(words[start : start + between(1, 4, self.text, "length", *draw)])
        while len(made) < least:
            made = f"{made} {words[len(made) % len(words)]}"
        return made[:most] if most < len(made) else made


def instance(schema: Any, muse: Muse, root: Any = None, *, path: str = "", depth: int = 0) -> Any:
    """A value that satisfies the schema, best effort for patterns and combinations."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or not schema:
        return muse.snippet(0, 40, path)
    schema = _resolved(schema, root, muse, path=path)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return _choice(schema["enum"], muse, path)
    kind = _kind(schema, muse, path, depth=depth)
    if kind == "object":
        return _object(schema, muse, root, path=path, depth=depth)
    if kind == "array":
        return _array(schema, muse, root, path=path, depth=depth)
    if kind in ("integer", "number"):
        return _number(schema, muse, path, whole=kind == "integer")
    if kind == "boolean":
        return fraction(muse.text, path, "boolean") < 0.5
    return None if kind == "null" else _string(schema, muse, path)


def _resolved(schema: dict[str, Any], root: Any, muse: Muse, *, path: str) -> dict[str, Any]:
    """The schema behind references and combinations, one level of them at a time."""
    for _ in range(DEPTH_MOST):
        if "$ref" in schema:
            target = root
            for step in str(schema["$ref"]).lstrip("#/").split("/"):
                target = target.get(step.replace("~1", "/").replace("~0", "~"), {}) if step else target
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        elif "allOf" in schema:
            merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                part = _resolved(part, root, muse, path=path)
                properties = {**merged.get("properties", {}), **part.get("properties", {})}
                required = [*merged.get("required", []), *part.get("required", [])]
                merged = {**merged, **part}
                if properties:
                    merged |= {"properties": properties, "required": required}
            schema = merged
        elif options := schema.get("anyOf") or schema.get("oneOf"):
            rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
            schema = {**rest, **options[0]} if isinstance(options[0], dict) else rest
        else:
            break
    return schema


def _kind(schema: dict[str, Any], muse: Muse, path: str, *, depth: int) -> str:
    told = schema.get("type")
    if isinstance(told, list):
        others = [kind for kind in told if kind != "null"]
        absent = "null" in told and (depth >= DEPTH_MOST or fraction(muse.text, path, "null") < 0.15)
        return "null" if absent or not others else str(others[0])
    if told is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(told).lower()


def _choice(options: list[Any], muse: Muse, path: str) -> Any:
    """The option whose words the prompt holds most, else one by hash."""
    held = {word.lower() for word in muse.words}
    scores = [len(held & {word.lower() for word in _WORD.findall(str(option))}) for option in options]
    if max(scores) > 0 and scores.count(max(scores)) == 1:
        return options[scores.index(max(scores))]
    return options[between(0, len(options) - 1, muse.text, path, "enum")]


def _object(schema: dict[str, Any], muse: Muse, root: Any, *, path: str, depth: int) -> dict[str, Any]:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    made = {}
    for name, part in properties.items():
        if name in required or (depth < DEPTH_MOST and fraction(muse.text, path, name, "present") < 0.9):
            made[name] = instance(part, muse, root, path=f"{path}/{name}", depth=depth + 1)
    extra = schema.get("additionalProperties")
    if not properties and isinstance(extra, dict):
        made = {
            muse.snippet(1, 12, path, n): instance(extra, muse, root, path=f"{path}/{n}", depth=depth + 1)
            for n in range(2)
        }
    for name in required:
        made.setdefault(name, muse.snippet(0, 20, path, name))
    return made


def _array(schema: dict[str, Any], muse: Muse, root: Any, *, path: str, depth: int) -> list[Any]:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    count = max(least, 0 if depth >= DEPTH_MOST else between(1, 3, muse.text, path, "items"))
    count = count if most is None else min(count, most)
    prefix = schema.get("prefixItems", [])
    made: list[Any] = []
    for n in range(count + 8):
        if len(made) >= count:
            break
        part = prefix[n] if n < len(prefix) else schema.get("items", {})
        value = instance(part if part is not True else {}, muse, root, path=f"{path}/{n}", depth=depth + 1)
        if not (schema.get("uniqueItems") and value in made):
            made.append(value)
    return made


def _number(schema: dict[str, Any], muse: Muse, path: str, *, whole: bool) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    step = schema.get("multipleOf")
    for number in muse.numbers:
        value = int(number) if whole else number
        if _fits(value, schema) and (not whole or number == value) and (not step or value % step == 0):
            return value
    floor = low if low is not None else (high - 100 if high is not None else 0)
    ceiling = high if high is not None else floor + 100
    if step:
        multiple: int | float = (int(floor // step) + 1) * step
        return multiple
    if whole:
        first, last = int(floor // 1) + (floor % 1 > 0), int(ceiling // 1)
        first += "exclusiveMinimum" in schema and first == low
        last -= "exclusiveMaximum" in schema and last == high
        return between(first, max(first, last), muse.text, path)
    return float(floor) + (float(ceiling) - float(floor)) * (0.25 + 0.5 * fraction(muse.text, path))


def _fits(value: float, schema: dict[str, Any]) -> bool:
    return bool(
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and value > schema.get("exclusiveMinimum", value - 1)
        and value < schema.get("exclusiveMaximum", value + 1)
    )


def _string(schema: dict[str, Any], muse: Muse, path: str) -> str:
    form = schema.get("format")
    if form == "date":
        found = _DATE.search(muse.text)
        return found[0] if found else f"{between(1990, 2026, muse.text, path)}-0{between(1, 9, muse.text)}-15"
    if form == "date-time":
        return f"{between(1990, 2026, muse.text, path)}-0{between(1, 9, muse.text)}-15T12:00:00Z"
    fixed = {"email": "someone@example.org", "uri": "https://example.org/", "time": "12:00:00Z",
             "uuid": "00000000-0000-4000-8000-000000000000", "ipv4": "192.0.2.1"}  # fmt: skip
    if form in fixed:
        return fixed[form]
    if "pattern" in schema:
        return _patterned(str(schema["pattern"]), muse, path)
    least = schema.get("minLength", 0)
    return muse.snippet(least, schema.get("maxLength", max(60, least)), path)


def _patterned(pattern: str, muse: Muse, path: str) -> str:
    """A text for the commonest patterns: one that the prompt holds, a year, or a class repeated."""
    try:
        found = re.search(pattern.strip("^$"), muse.text)
    except re.error:
        return ""
    if found and re.search(pattern, found[0]):
        return found[0]
    for candidate in ("1984", "A", "AB", "ABC", "a", "abc", "12", "123", "A-1", "AB-123", "0", "x1"):
        if re.search(pattern, candidate):
            return candidate
    return muse.snippet(1, 20, path)
