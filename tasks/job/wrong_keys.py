"""Wrong keys: what pydantic says of a job, in a user's words, each with the key that it is about."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from rowmill.schemas.input_sections import Query
from rowmill.schemas.job import Job
from rowmill.tasks.job.yaml_nodes import Place

# What pydantic says where text is expected and something else stands.
NO_TEXT = ("string_type", "string_sub_type")
# What it says where a section is expected.
NO_SECTION = ("model_type", "model_attributes_type", "dataclass_type")
_NONE = object()


def wrong_keys(errors: Sequence[Any], keys: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Each wrong key with what is wrong with it, one for all kinds of value that it might have been."""
    found: dict[Place, dict[str, str]] = {}
    for error in _of_input(errors, keys.get("input")):
        place = _written(error, keys)
        what, why = _explained(error, place)
        found.setdefault(place, {}).setdefault(why, what)
    return [(place, f"{next(iter(told.values()))}{', or '.join(told)}") for place, told in found.items()]


def _of_input(errors: Sequence[Any], given: object) -> list[Any]:
    """The errors with those of `input` about what was meant by it: a query where it is a mapping, else a path."""
    found = []
    for error in errors:
        loc = error["loc"]
        if loc[:1] == ("input",) and len(loc) > 1:
            if isinstance(given, Mapping) != (loc[1] == Query.__name__):
                continue
            error = {**error, "loc": ("input", *loc[2:])}
            if not isinstance(given, Mapping):
                error |= {"type": "input_kind", "msg": "it is a path, `-`, or {query, connection}"}
        found.append(error)
    return found


def _written(error: Any, keys: Mapping[str, Any]) -> Place:
    """The steps of an error's place that stand in the job; the others name kinds of value that were tried."""
    value: Any = keys
    steps: list[int | str] = []
    for at, step in enumerate(error["loc"]):
        is_missing = error["type"] == "missing" and at == len(error["loc"]) - 1
        inner = _inner(value, step)
        if inner is not _NONE or is_missing:
            value = inner
            steps.append(step)
    return tuple(steps)


def _inner(value: Any, step: int | str) -> Any:
    if isinstance(value, Mapping):
        return value.get(step, _NONE)
    is_item = isinstance(value, list | tuple) and isinstance(step, int) and step < len(value)
    return value[step] if is_item else _NONE


def _explained(error: Any, place: Place) -> tuple[str, str]:
    """The key, and what is wrong with it: with the nearest known key where it was misspelt."""
    name = ".".join(str(step) for step in place)
    if error["type"] == "extra_forbidden":
        known = _keys_at(place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, 1)
        return (
            f"unknown key {name!r}: ",
            f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}",
        )
    if error["type"] == "missing":
        return f"the key {name!r} is missing", ""
    message = _message(error, place)
    # Not of names that begin with several, as YAML.
    lower = message if message[1:2].isupper() else f"{message[0].lower()}{message[1:]}"
    return (f"{name}: ", lower) if name else ("", message)


def _message(error: Any, place: Place) -> str:
    given = error.get("input")
    if given is None and error["type"].endswith("_type"):
        return "nothing stands there: give it a value, or drop the key"
    if error["type"] in NO_TEXT and isinstance(given, bool | int | float):
        kind = "true or false" if isinstance(given, bool) else "a number"
        return f"text is expected, and {str(given).lower()[:40]} is {kind}: put it in quotes"
    if error["type"] in NO_SECTION and (known := _keys_at(place)):
        return f"a section is expected, with the keys {', '.join(known)}"
    if error["type"] == "list_type" and isinstance(given, str):
        return f"a list is expected: write [{given[:60]}]"
    return str(error["msg"]).removeprefix("Value error, ")


def _keys_at(loc: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] | None = Job
    for step in loc:
        if model is not None and isinstance(step, str):
            info = model.model_fields.get(step)
            model = _model_in(info.annotation) if info else None
    return [info.alias or name for name, info in model.model_fields.items()] if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, alone, as one of several kinds, or many of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
