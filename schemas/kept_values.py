"""Kept values: input columns carried into the results unchanged: their types, and each value as its column holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rowmill.schemas.json_text import encode_json


@dataclass(slots=True)
class KeepTypes:
    """Arrow types of kept JSON columns, widened as values are met: text where no other type holds all unchanged."""

    kinds: dict[str, str] = field(default_factory=dict)

    def meet(self, name: str, value: Any) -> None:
        met = _kind(value)
        had = self.kinds.get(name, "null")
        if met != had and met != "null":
            self.kinds[name] = met if had == "null" else _WIDER.get(frozenset((met, had)), "text")

    def arrow(self, names: list[str]) -> dict[str, pa.DataType]:
        return {name: _ARROW[self.kinds.get(name, "null")] for name in names}


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names of a struct's fields, each another one: one that stands again gets a number, as a column of a CSV does."""
    if len(set(names)) == len(names):
        return list(names)
    found: list[str] = []
    taken, numbers = set(names), dict.fromkeys(names, 1)
    for name in names:
        made = name
        while numbers[name] > 1 and made in taken:
            made = f"{name}_{numbers[name]}"
            numbers[name] += 1
        numbers[name] = max(numbers[name], 2)
        taken.add(made)
        found.append(made)
    return found


# A double holds whole numbers up to 2⁵³ alone: beyond, they are kept apart from numbers with a fraction.
EXACT_IN_DOUBLE = range(-(2**53), 2**53 + 1)
_INT64 = range(-(2**63), 2**63)
_WIDER = {frozenset(("int", "float")): "float", frozenset(("int", "long")): "long"}
_ARROW = {
    "null": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if value in EXACT_IN_DOUBLE else "long" if value in _INT64 else "text"
    return "float" if isinstance(value, float) else "text"


_FITS = {
    "bool": pa.types.is_boolean,
    "int": lambda type_: pa.types.is_integer(type_) or pa.types.is_floating(type_),
    "long": pa.types.is_integer,
    "float": pa.types.is_floating,
}


def kept(value: Any, type_: pa.DataType) -> Any:
    """A kept JSON value as its column holds it. Raises ValueError where the column cannot hold it unchanged."""
    if value is None:
        return None
    if pa.types.is_string(type_):
        return value if isinstance(value, str) else encode_json(value).decode().strip('"')
    fits = _FITS.get(_kind(value))
    if fits is None or not fits(type_):
        raise ValueError(f"the kept column is {type_} in the rows before, here it holds {encode_json(value)[:60]!r}")
    return value


def kept_or_null(value: Any, type_: pa.DataType) -> Any:
    """The same, null where the column cannot hold it: such a row has been refused."""
    try:
        return kept(value, type_)
    except ValueError:
        return None
