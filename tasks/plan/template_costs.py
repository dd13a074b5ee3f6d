"""Template costs: how many bytes each operator, filter and method of a template makes, reckoned before it makes them.

What stands in no table here cannot be called from a template.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, ItemsView, KeysView, ValuesView
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from jinja2.filters import make_attrgetter
from jinja2.runtime import Context, Undefined

# Bytes that one prompt's operators, filters and methods may make, and steps it may take, of which a loop's turn is one
# for each node in its body: both are some tenths of a second.
MADE_MOST = 32 * 2**20
STEPS_MOST = 1_500_000
WIDTH_MOST = 10_000
INTEGER_MOST_BITS = 65_536
PRECISION_MOST = 30
INDENT_MOST = 8
STRIPPED_MOST = 100
# What takes longer than the length of its text, or needs many times its room, gets short texts only.
SLOW_MOST = 64 * 2**10
ITEM_BYTES = 16
NEW_TEXT_BYTES = 64
VALUE_BYTES = 64

VIEWS = (KeysView, ItemsView, ValuesView)
CONTAINERS = (list, tuple, dict, set, frozenset, range, *VIEWS)
BINARY = (bytes, bytearray, memoryview)
SPACES = string.whitespace + "\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


class TemplateError(ValueError):
    """A prompt that cannot be made for this row; the message says why."""


class Budget:
    """What one rendering may still make (bytes) and do (steps). Both raise TemplateError when they are spent."""

    __slots__ = ("made", "steps")

    def __init__(self) -> None:
        self.made, self.steps = MADE_MOST, STEPS_MOST

    def make(self, size: int) -> None:
        self.made -= size
        if self.made < 0:
            raise TemplateError(f"the template makes more than {MADE_MOST >> 20} MiB of text and lists on its way")

    def step(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise TemplateError(f"the template takes more than {STEPS_MOST:,} steps")


def shallow(value: Any) -> int:
    """Bytes of a text, or of a container without what it holds."""
    if isinstance(value, str):
        return len(value) if value.isascii() else 4 * len(value)
    if isinstance(value, CONTAINERS):
        return ITEM_BYTES * len(value)
    return len(value) if isinstance(value, BINARY) else VALUE_BYTES


def weight(value: Any, budget: Budget, *, text: bool = False) -> int:
    """Bytes of a value with all that it holds, counted once for each time it stands there.

    Raises TemplateError where that is more than may still be made; with `text`, for binary values too.
    """
    total = 0
    stack = [value]
    while stack:
        one = stack.pop()
        kind = type(one)
        if kind is int:
            total += VALUE_BYTES + one.bit_length() // 3
            continue
        if text and isinstance(one, BINARY):
            raise TemplateError("a binary value is no text: name its column under `attachments`, or decode it")
        if kind is not Undefined:
            total += shallow(one)
        if total > budget.made:
            budget.make(total)
        if isinstance(one, dict):
            stack.extend(one.keys())
            stack.extend(one.values())
        elif kind is list or kind is tuple or (isinstance(one, CONTAINERS) and kind is not range):
            stack.extend(one)
    return total


def reading_steps(value: Any) -> int:
    """Steps that it takes to read a text, or the items of a container, once."""
    if isinstance(value, (str, *BINARY)):
        return len(value) >> 7
    return len(value) >> 2 if isinstance(value, CONTAINERS) else 0


def operator_cost(operator: str, left: Any, right: Any) -> int:
    """What `+`, `*` and `**` make. Raises TemplateError for numbers beyond all use."""
    if isinstance(left, int) and isinstance(right, int):
        bits = {
            "*": left.bit_length() + right.bit_length(),
            "**": left.bit_length() * max(right, 0) if abs(left) > 1 else 1,
        }.get(operator, 0)
        if bits > INTEGER_MOST_BITS:
            raise TemplateError(f"a number of {bits:,} bits")
        return VALUE_BYTES
    if operator == "*":
        text, times = (right, left) if isinstance(left, int) else (left, right)
        return shallow(text) * max(times, 0) if isinstance(times, int) else VALUE_BYTES
    return shallow(left) + shallow(right)


_PERCENT = re.compile(r"%(?:\([^()]*\))?[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?")


def percent_cost(text: str, values: Any, budget: Budget) -> int:
    """What `text % values` makes."""
    widths = [number for found in _PERCENT.finditer(text) for number in found.groups() if number]
    return shallow(text) + _widths(widths) + max(text.count("%"), 1) * 2 * weight(values, budget, text=True)


def format_cost(value: Any, spec: str, budget: Budget) -> int:
    """What one field of `text.format(...)` makes."""
    return 2 * weight(value, budget, text=True) + _widths(re.findall(r"\d+", spec))


def _widths(numbers: list[str]) -> int:
    """Widths and precisions that are written down. Raises TemplateError for a large one."""
    for number in numbers:
        if number == "*" or len(number) > 9 or int(number) > WIDTH_MOST:
            raise TemplateError(f"a width or precision of {number[:20]}; at most {WIDTH_MOST:,} is allowed")
    return sum(map(int, numbers))


def _bounded(number: Any, most: int, what: str) -> int:
    if isinstance(number, int) and abs(number) > most:
        raise TemplateError(f"{what} of {number:,}; at most {most:,} is allowed")
    return number if isinstance(number, int) else 0


# Filters that make nothing of size, or make it one value at a time.
LAZY_FILTERS = frozenset({"map", "select", "reject", "selectattr", "rejectattr"})
FREE_FILTERS = LAZY_FILTERS | {
    "abs", "attr", "count", "d", "default", "filesizeformat", "first", "items", "last", "length",
}  # fmt: skip
# Filters of a text, to which null is empty text.
NULL_IS_EMPTY = frozenset(
    {
        "capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "replace", "safe", "string",
        "striptags", "title", "trim", "truncate", "upper", "urlencode", "urlize", "wordcount", "wordwrap",
    }
)  # fmt: skip
# How many times its bytes a filter may make; for others twice.
GROWTH = {"join": 1, "e": 6, "escape": 6, "forceescape": 6, "tojson": 8, "urlencode": 12}
SLOW_FILTERS = frozenset({"pprint", "urlize", "wordwrap", "xmlattr"})


class Arguments(NamedTuple):
    """What a filter or a method of a value is called with."""

    args: tuple[Any, ...]
    named: dict[str, Any]

    def at(self, place: int, name: str, default: Any = None) -> Any:
        """The argument that stands at a place, or is given by its name."""
        return self.args[place] if len(self.args) > place else self.named.get(name, default)


def filter_cost(context: Context, name: str, value: Any, *, given: Arguments, budget: Budget) -> Any:
    """Pay for a filter. Returns the value that it is to be given."""
    whole = weight(value, budget, text=name not in ("list", "reverse", "sort", "unique", "groupby"))
    if name in SLOW_FILTERS and whole > SLOW_MOST:
        raise TemplateError(f"`{name}` of {whole:,} bytes; it takes at most {SLOW_MOST:,}")
    if name == "join":
        value = ["" if one is None else one for one in value] if isinstance(value, (list, tuple)) else value
    rule = FILTER_COSTS.get(name)
    cost = rule(value, given, budget) if rule else 0
    budget.make(cost + GROWTH.get(name, 2) * whole + weight(tuple(given), budget))
    budget.step(whole >> 7)
    if name == "sum":
        _must_be_numbers(context, value, given)
    return value


def _must_be_numbers(context: Context, value: Any, given: Arguments) -> None:
    """Raises TemplateError where `sum` is to add up other values, whose sum would grow at each step."""
    attribute = given.at(0, "attribute")
    read = make_attrgetter(context.environment, attribute) if attribute is not None else None
    for one in (*(map(read, value) if read else value), given.at(1, "start", 0)):
        if not isinstance(one, (int, float, Decimal, timedelta, Undefined)):
            raise TemplateError(f"`sum` adds numbers, not {type(one).__name__}; `join` puts texts together")


def _lines(text: Any) -> int:
    return sum(text.count(end) for end in LINE_ENDS) + 1 if isinstance(text, str) else 1


def _center(value: Any, given: Arguments, budget: Budget) -> int:
    return 4 * _bounded(given.at(0, "width", 80), WIDTH_MOST, "a width")


def _indent(value: Any, given: Arguments, budget: Budget) -> int:
    width = given.at(0, "width", 4)
    one = shallow(width) if isinstance(width, str) else _bounded(width, WIDTH_MOST, "an indentation")
    return one * _lines(value)


def _replace(value: Any, given: Arguments, budget: Budget) -> int:
    return _replaced(str(value), given.at(0, "old", ""), given.at(1, "new", ""))


def _replaced(text: str, old: Any, new: Any) -> int:
    times = text.count(old) if isinstance(old, str) else 0
    return times * shallow(new)


def _join(value: Any, given: Arguments, budget: Budget) -> int:
    between = given.at(0, "d", "")
    return shallow(between) * len(value) if isinstance(value, (*CONTAINERS, str)) else 0


def _percent(value: Any, given: Arguments, budget: Budget) -> int:
    return percent_cost(str(value), given.named or given.args, budget)


def _groups(value: Any, given: Arguments, budget: Budget) -> int:
    number = given.at(0, "linecount", given.at(0, "slices", 0))
    return NEW_TEXT_BYTES * abs(_bounded(number, SLOW_MOST, "a number"))


def _round(value: Any, given: Arguments, budget: Budget) -> int:
    return abs(_bounded(given.at(0, "precision", 0), PRECISION_MOST, "a precision"))


def _json(value: Any, given: Arguments, budget: Budget) -> int:
    indent = _bounded(given.at(0, "indent", 0), INDENT_MOST, "an indentation")
    if indent and (deep := _depth(value)) > PRECISION_MOST:
        raise TemplateError(f"`tojson(indent)` of {deep} levels; at most {PRECISION_MOST} are indented")
    return indent * PRECISION_MOST * _items(value) if indent else 0


def _depth(value: Any) -> int:
    level, deep = [value], 0
    while level := [inner for outer in level for inner in _inside(outer)]:
        deep += 1
    return deep


def _items(value: Any) -> int:
    found, stack = 0, [value]
    while stack:
        found += 1
        stack.extend(_inside(stack.pop()))
    return found


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def _trim(value: Any, given: Arguments, budget: Budget) -> int:
    return _stripped(given.at(0, "chars"))


def _stripped(chars: Any) -> int:
    return _bounded(len(chars), STRIPPED_MOST, "a set of characters") if isinstance(chars, str) else 0


def _as_list(value: Any, given: Arguments, budget: Budget) -> int:
    return NEW_TEXT_BYTES * len(value) if isinstance(value, str) else 0


def _to_number(value: Any, given: Arguments, budget: Budget) -> int:
    return _bounded(len(value), WIDTH_MOST, "a number's text") if isinstance(value, str) else 0


FILTER_COSTS: dict[str, Callable[[Any, Arguments, Budget], int]] = {
    "center": _center,
    "indent": _indent,
    "replace": _replace,
    "join": _join,
    "format": _percent,
    "batch": _groups,
    "slice": _groups,
    "round": _round,
    "tojson": _json,
    "trim": _trim,
    "list": _as_list,
    "int": _to_number,
    "float": _to_number,
}


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
            return passed + _bounded(passed, SLOW_MOST, "an argument")
    raise TypeError(f"a template may not call {name!r} of {type(owner).__name__}")


Rule = Callable[[Any, Arguments], int]


def _nothing(owner: Any, given: Arguments) -> int:
    return 0


def _same(owner: Any, given: Arguments) -> int:
    return 2 * shallow(owner)


def _strip(owner: str, given: Arguments) -> int:
    _stripped(given.at(0, "chars"))
    return shallow(owner)


def _padded(owner: str, given: Arguments) -> int:
    return shallow(owner) + 4 * _bounded(given.at(0, "width", 0), WIDTH_MOST, "a width")


def _tabs(owner: str, given: Arguments) -> int:
    size = _bounded(given.at(0, "tabsize", 8), WIDTH_MOST, "a tab")
    return shallow(owner) + owner.count("\t") * 4 * size


def _replace_all(owner: str, given: Arguments) -> int:
    return shallow(owner) + _replaced(owner, given.at(0, "old", ""), given.at(1, "new", ""))


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
    return shallow(owner) + NEW_TEXT_BYTES * _lines(owner)


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
