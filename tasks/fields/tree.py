"""Field tree: the leaves of an output, and columns that have a value for each of them.

A leaf is what `output` holds that is no object of named fields: a text, a number, a list, a map, JSON text. Fields that
the schema does not name (`_extra`) are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rowmill.schemas.output_schema import EXTRA, Shape

# Stands for a field that a JSON object does not have, which may be something else than null.
MISSING: Any = type("Missing", (), {"__repr__": lambda _: "MISSING"})()
# What an output that is no object as a whole is called.
WHOLE = "output"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf: its path in the output, its name there (`who.name`), its Arrow type; `is_json` for JSON text."""

    path: tuple[str, ...]
    name: str
    type: pa.DataType
    is_json: bool

    @property
    def pointer(self) -> str:
        """The leaf as a JSON pointer."""
        return pointer_of(self.path)

    @property
    def is_number(self) -> bool:
        return bool(pa.types.is_integer(self.type) or pa.types.is_floating(self.type))

    @property
    def is_list(self) -> bool:
        return bool(pa.types.is_list(self.type))


@dataclass(frozen=True, slots=True)
class FieldTree:
    """The leaves of an output of some type, in its order."""

    type: pa.DataType
    leaves: tuple[Leaf, ...]

    def values(self, value: Any) -> list[Any]:
        """What an output holds at each leaf. MISSING where an object lacks the field, null below a null."""
        return [at(value, leaf.path) for leaf in self.leaves]

    def struct(self, leaf_type: pa.DataType) -> pa.DataType:
        """The output's type with other leaves, and without fields that the schema does not name."""
        return _with_leaves(self.type, leaf_type)

    def column(self, rows: Sequence[Sequence[Any] | None], leaf_type: pa.DataType) -> pa.Array:
        """A value for each leaf and row → a column of `struct(leaf_type)`; null for a row without any."""
        return pa.array([None if row is None else self._nested(row) for row in rows], self.struct(leaf_type))

    def _nested(self, row: Sequence[Any]) -> Any:
        if not pa.types.is_struct(self.type):
            return row[0]
        nested: dict[str, Any] = {}
        for leaf, value in zip(self.leaves, row, strict=True):
            inside = nested
            for step in leaf.path[:-1]:
                inside = inside.setdefault(step, {})
            inside[leaf.path[-1]] = value
        return nested


def field_tree(shape: Shape) -> FieldTree:
    """The tree of a shape's outputs."""
    return tree_of(shape.type, frozenset(field.pointer for field in shape.json_text_fields))


def tree_of(type_: pa.DataType, json_pointers: frozenset[str], above: str = "", *, pointer: str = "") -> FieldTree:
    """The tree of a type that stands somewhere in an output, where `above` names what it is in.

    `json_pointers` are the JSON text fields of the whole output, `*` for an item of a list.
    """
    names: set[str] = set()
    leaves = []
    for path, leaf_type in _leaves((), type_):
        own = ".".join(path)
        if own in names:
            own = pointer_of(path)
        names.add(own)
        name = ".".join(part for part in (above, own) if part) or WHOLE
        leaves.append(Leaf(path, name, leaf_type, f"{pointer}{pointer_of(path)}" in json_pointers))
    return FieldTree(type_, tuple(leaves))


def pointer_of(path: Sequence[str]) -> str:
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)


def at(value: Any, path: Sequence[str]) -> Any:
    """The value at a path: MISSING where an object on the way lacks the next step, null below what is no object."""
    for step in path:
        if value is MISSING:
            return MISSING
        if type(value) is not dict:
            return None
        value = value.get(step, MISSING)
    return value


def _leaves(path: tuple[str, ...], type_: pa.DataType) -> Iterator[tuple[tuple[str, ...], pa.DataType]]:
    if not pa.types.is_struct(type_):
        yield path, type_
        return
    for field in type_:
        if field.name != EXTRA:
            yield from _leaves((*path, field.name), field.type)


def _with_leaves(type_: pa.DataType, leaf_type: pa.DataType) -> pa.DataType:
    if not pa.types.is_struct(type_):
        return leaf_type
    return pa.struct([(field.name, _with_leaves(field.type, leaf_type)) for field in type_ if field.name != EXTRA])
