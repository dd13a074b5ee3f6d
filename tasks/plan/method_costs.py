"""Method costs: how many bytes each method of a row's values makes, reckoned before it makes them.

What stands in no table here cannot be called from a template.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from rowmill.tasks.plan.template_budget import CONTAINERS, Budget, reading_steps, shallow, weight
from rowmill.tasks.plan.template_costs import (
    NEW_TEXT_BYTES,
    SLOW_MOST,
    WIDTH_MOST,
    Arguments,
    bounded,
    line_count,
    replaced_cost,
    stripped_cost,
)

SPACES = string.whitespace + "\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"


def method_cost(owner: Any, name: str, given: Arguments, *, budget: Budget) -> int:
    """What a method of a row's value makes. Raises TypeError for one that a template may not call."""
    passed = weight(tuple(given), budget)
    for kinds, methods in METHODS:
        if isinstance(owner, kinds):
            rule = methods.get(name)
            if rule is None:
                break
            budget.step(reading_steps(owner))
            return passed + rule(owner, given)
    else:
        if isinstance(owner, DATA):
            return passed + bounded(passed, SLOW_MOST, "an argument")
    raise TypeError(f"a template may not call {name!r} of {type(owner).__name__}")


Rule = Callable[[Any, Arguments], int]


def _nothing(owner: Any, given: Arguments) -> int:
    return 0


def _same(owner: Any, given: Arguments) -> int:
    return 2 * shallow(owner)


def _strip(owner: str, given: Arguments) -> int:
    stripped_cost(given.at(0, "chars"))
    return shallow(owner)


def _padded(owner: str, given: Arguments) -> int:
    return shallow(owner) + 4 * bounded(given.at(0, "width", 0), WIDTH_MOST, "a width")


def _tabs(owner: str, given: Arguments) -> int:
    size = bounded(given.at(0, "tabsize", 8), WIDTH_MOST, "a tab")
    return shallow(owner) + owner.count("\t") * 4 * size


def _replace_all(owner: str, given: Arguments) -> int:
    return shallow(owner) + replaced_cost(owner, given.at(0, "old", ""), given.at(1, "new", ""))


def _split(owner: str, given: Arguments) -> int:
    separator, most = given.at(0, "sep"), given.at(1, "maxsplit", -1)
    if isinstance(separator, str):
        pieces = owner.count(separator) if separator else 0
    else:
        pieces = sum(owner.count(space) for space in SPACES)
    if isinstance(most, int) and most >= 0:
        pieces = min(pieces, most)
    return shallow(owner) + NEW_TEXT_BYTES * (pieces + 1)


def _split_lines(owner: str, given: Arguments) -> int:
    return shallow(owner) + NEW_TEXT_BYTES * line_count(owner)


def _join_all(owner: str, given: Arguments) -> int:
    parts = given.args[0] if given.args else ()
    if not isinstance(parts, (*CONTAINERS, str)):
        raise TypeError("join takes a list")
    return shallow(owner) * len(parts)


TEXT_METHODS: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "capitalize", "casefold", "lower", "upper", "swapcase", "title", "removeprefix", "removesuffix",
            "partition", "rpartition", "encode",
        ),
        _same,
    ),
    **dict.fromkeys(
        (
            "count", "find", "rfind", "index", "rindex", "startswith", "endswith", "isalnum", "isalpha", "isascii",
            "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle",
            "isupper",
        ),
        _nothing,
    ),
    **dict.fromkeys(("strip", "lstrip", "rstrip"), _strip),
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded),
    **dict.fromkeys(("split", "rsplit"), _split),
    "splitlines": _split_lines,
    "expandtabs": _tabs,
    "replace": _replace_all,
    "join": _join_all,
}  # fmt: skip
# Those of values that a row may hold, by their kinds; a kind comes before those it is one of.
METHODS: tuple[tuple[tuple[type, ...], dict[str, Rule]], ...] = (
    ((str,), TEXT_METHODS),
    ((bytes, bytearray), {"decode": _same, "hex": _same, "startswith": _nothing, "endswith": _nothing}),
    ((dict,), {"items": _nothing, "keys": _nothing, "values": _nothing, "get": _nothing, "copy": _same}),
    ((list, tuple, range), {"count": _nothing, "index": _nothing, "copy": _same}),
    ((int, float), {"is_integer": _nothing, "bit_length": _nothing, "bit_count": _nothing, "hex": _nothing}),
)
DATA = (date, time, timedelta, Decimal, UUID)
