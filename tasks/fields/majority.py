"""Majority: several answers about a row → one output, field by field, how many agree with it, and whether one more
could change anything. Pure.

An object is answered field by field, a list by its most frequent length and then place by place, everything else as a
whole. Of values said equally often the one that was said first stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rowmill.schemas.json_text import decode_json, encode_json
from rowmill.tasks.fields.comparison import key_of
from rowmill.tasks.fields.tree import MISSING, FieldTree, at

# Stands for a vote that brought no answer.
NO_ANSWER: Any = type("NoAnswer", (), {"__repr__": lambda _: "NO_ANSWER"})()
_NOTHING, _OBJECT = ("nothing",), ("fields",)


@dataclass(frozen=True, slots=True)
class Majority:
    """The value that votes make of a row, and the place of the vote that is nearest to it. `is_composed` where it is
    what the fields' majorities are together.
    """

    value: Any
    nearest: int
    is_composed: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """A row's output as JSON text, the place of the vote that is nearest to it, and for each leaf the share of all
    votes that say the same.
    """

    text: str
    nearest: int
    agreement: tuple[float, ...]


def decision(
    models: Sequence[str], texts: Sequence[str | None], tree: FieldTree, *, meets: Callable[[Any], bool]
) -> Decision | None:
    """What votes decide, from the model and the accepted answer of each; None where none was accepted.

    Where another model than the first was asked too and answered, its votes decide. The agreement is that of all votes.
    """
    said = [NO_ANSWER if text is None else decode_json(text) for text in texts]
    stronger = [place for place, model in enumerate(models) if model != models[0] and said[place] is not NO_ANSWER]
    deciding = stronger or range(len(said))
    found = majority([said[place] for place in deciding], tree, meets)
    if found is None:
        return None
    nearest = deciding[found.nearest]
    text = texts[nearest]
    if text is None or key_of(found.value) != key_of(said[nearest]):
        text = encode_json(found.value).decode()
    return Decision(text, nearest, agreement(said, found.value, tree))


def majority(said: Sequence[Any], tree: FieldTree, meets: Callable[[Any], bool]) -> Majority | None:
    """The output of some votes, NO_ANSWER standing for those that brought none; None where none did.

    Majorities that together break the schema (`meets`) give way to the vote that is nearest to them.
    """
    answered = [value for value in said if value is not NO_ANSWER]
    if not answered:
        return None
    value = composed(answered, tree.type)
    likeness = [0.0 if one is NO_ANSWER else sum(_likenesses(one, value, tree)) for one in said]
    places = [place for place, one in enumerate(said) if one is not NO_ANSWER]
    nearest = max(places, key=lambda place: (likeness[place], -place))
    is_composed = meets(value)
    return Majority(value if is_composed else said[nearest], nearest, is_composed)


def agreement(said: Sequence[Any], value: Any, tree: FieldTree) -> tuple[float, ...]:
    """For each leaf the share of all votes that say what an output says there: of a list or a map, that of its part on
    which the fewest agree. A vote without an answer agrees on nothing.
    """
    return tuple(alike / len(said) for alike in _alike(said, value, tree))


def _alike(said: Sequence[Any], value: Any, tree: FieldTree) -> list[int]:
    answered = [one for one in said if one is not NO_ANSWER]
    return [_count([at(one, leaf.path) for one in answered], at(value, leaf.path), leaf.type) for leaf in tree.leaves]


def _count(values: Sequence[Any], value: Any, type_: pa.DataType) -> int:
    """How many values are like one: of what is answered by its parts, the fewest that are like one of these."""
    side: list[Any]
    if isinstance(value, list) and pa.types.is_list(type_):
        side = [one for one in values if isinstance(one, list) and len(one) == len(value)]
        parts = [([one[place] for one in side], part, type_.value_type) for place, part in enumerate(value)]
    elif isinstance(value, dict) and (inner := _fields_of(type_)) is not None:
        side = [one for one in values if isinstance(one, dict)]
        names = dict.fromkeys(name for one in (value, *side) for name in one)
        parts = [([at(one, (name,)) for one in side], at(value, (name,)), inner(name)) for name in names]
    else:
        return sum(key_of(one) == key_of(value) for one in values)
    return min((_count(*part) for part in parts), default=len(side))


def is_settled(said: Sequence[Any], left: int, tree: FieldTree, *, meets: Callable[[Any], bool]) -> bool:
    """Whether the output stands whatever `left` more votes say, or whether they bring an answer at all."""
    answered = [value for value in said if value is not NO_ANSWER]
    if not left:
        return True
    return bool(answered) and _stands(answered, tree.type, left) and meets(composed(answered, tree.type))


def agreement_bounds(said: Sequence[Any], left: int, tree: FieldTree) -> list[tuple[float, float]]:
    """For each leaf the least and the greatest agreement with an output that stands, after `left` more votes."""
    asked = len(said) + left
    value = composed([one for one in said if one is not NO_ANSWER], tree.type)
    return [(alike / asked, (alike + left) / asked) for alike in _alike(said, value, tree)]


def most_agreement(said: Sequence[Any], left: int, tree: FieldTree) -> float:
    """What the agreement on the field of most doubt cannot pass, after `left` more votes, whatever they say.

    It looks at fields of the output itself that have no parts: no value of theirs is said more often.
    """
    counts: list[int] = []
    for leaf in tree.leaves:
        if len(leaf.path) == 1 and not pa.types.is_nested(leaf.type):
            told = Counter(key_of(at(one, leaf.path)) for one in said if one is not NO_ANSWER)
            counts.append(max(told.values(), default=0))
    return (min(counts) + left) / (len(said) + left) if counts else 1.0


def composed(values: Sequence[Any], type_: pa.DataType) -> Any:
    """What values (one or more) agree on most, put together of its fields; MISSING where most lack it."""
    side = _winners(values, type_)
    first = side[0]
    if isinstance(first, dict) and (inner := _fields_of(type_)) is not None:
        found = {}
        for name in dict.fromkeys(name for value in side for name in value):
            part = composed([value.get(name, MISSING) for value in side], inner(name))
            if part is not MISSING:
                found[name] = part
        return found
    if isinstance(first, list) and pa.types.is_list(type_):
        return [composed([value[place] for value in side], type_.value_type) for place in range(len(first))]
    return first


def _stands(values: Sequence[Any], type_: pa.DataType, left: int) -> bool:
    """Whether `composed` gives the same after `left` more values."""
    counts = _counts(values, type_)
    most = max(counts.values())
    rivals_before = True
    for kind, count in counts.items():
        if count == most and rivals_before:
            # The winner: of equals the first. Those behind it lose a tie, those before it win one.
            rivals_before = False
            winner = kind
        elif count + left > most or (rivals_before and count + left == most):
            return False
    if left > most:
        return False
    side = [value for value in values if _kind(value, type_) == winner]
    first = side[0]
    if isinstance(first, dict) and (inner := _fields_of(type_)) is not None:
        # A field that nobody has named yet lacks in all of them, which are as many as could still name it.
        names = {name for value in side for name in value}
        return all(_stands([value.get(name, MISSING) for value in side], inner(name), left) for name in names)
    if isinstance(first, list) and pa.types.is_list(type_):
        return all(_stands([value[place] for value in side], type_.value_type, left) for place in range(len(first)))
    return True


def _winners(values: Sequence[Any], type_: pa.DataType) -> list[Any]:
    """The values of the kind that was said most, of equally frequent kinds the one that was said first."""
    counts = _counts(values, type_)
    winner = max(counts, key=lambda kind: counts[kind])
    return [value for value in values if _kind(value, type_) == winner]


def _counts(values: Sequence[Any], type_: pa.DataType) -> Mapping[Any, int]:
    counts: dict[Any, int] = {}
    for value in values:
        kind = _kind(value, type_)
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _kind(value: Any, type_: pa.DataType) -> Any:
    """What two values must share to be one vote at this level: what is answered by its parts is one kind."""
    if value is MISSING or value is None:
        return _NOTHING
    if isinstance(value, dict) and _fields_of(type_) is not None:
        return _OBJECT
    if isinstance(value, list) and pa.types.is_list(type_):
        return ("list", len(value))
    return ("value", key_of(value))


def _fields_of(type_: pa.DataType) -> Callable[[str], pa.DataType] | None:
    """The types of an object's fields by their names; None for what is no object of fields."""
    if pa.types.is_struct(type_):
        types = {field.name: field.type for field in type_}
        return lambda name: types.get(name, pa.string())
    return (lambda _: type_.item_type) if pa.types.is_map(type_) else None


def _likenesses(one: Any, other: Any, tree: FieldTree) -> list[float]:
    """Of two outputs, how alike they are at each leaf."""
    return [_likeness(at(one, leaf.path), at(other, leaf.path), leaf.type) for leaf in tree.leaves]


def _likeness(one: Any, other: Any, type_: pa.DataType) -> float:
    """The share of two values' parts that are equal; 0 or 1 for what has none."""
    if key_of(one) == key_of(other):
        return 1.0
    if isinstance(one, list) and isinstance(other, list) and pa.types.is_list(type_):
        alike = sum(_likeness(mine, theirs, type_.value_type) for mine, theirs in zip(one, other, strict=False))
        return alike / max(len(one), len(other))
    if isinstance(one, dict) and isinstance(other, dict) and (inner := _fields_of(type_)) is not None:
        names = {**one, **other}
        return sum(_likeness(one.get(name), other.get(name), inner(name)) for name in names) / len(names)
    return 0.0
