"""Filter costs: how many bytes each filter of a template makes, reckoned before it makes them.

What stands in no table here cannot be called from a template.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from jinja2.filters import make_attrgetter
from jinja2.runtime import Context, Undefined

from rowmill.tasks.plan.template_budget import CONTAINERS, Budget, TemplateError, shallow, weight
from rowmill.tasks.plan.template_costs import (
    NEW_TEXT_BYTES,
    SLOW_MOST,
    WIDTH_MOST,
    Arguments,
    bounded,
    line_count,
    percent_cost,
    replaced_cost,
    stripped_cost,
)

PRECISION_MOST = 30
INDENT_MOST = 8
# Filters that make nothing of size, or make it one value at a time.
LAZY_FILTERS = frozenset({"map", "select", "reject", "selectattr", "rejectattr"})
FREE_FILTERS = LAZY_FILTERS | {
    "abs", "attr", "count", "d", "default", "filesizeformat", "first", "items", "last", "length",
}  # fmt: skip
# Filters of a text, to which null is empty text, and an object or a list its JSON.
OF_TEXT = frozenset(
    {
        "capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "replace", "safe", "string",
        "striptags", "title", "trim", "truncate", "upper", "urlencode", "urlize", "wordcount", "wordwrap",
    }
)  # fmt: skip
# How many times its bytes a filter may make; for others twice.
GROWTH = {"join": 1, "e": 6, "escape": 6, "forceescape": 6, "tojson": 8, "urlencode": 12}
SLOW_FILTERS = frozenset({"pprint", "urlize", "wordwrap", "xmlattr"})


def filter_cost(context: Context, name: str, value: Any, *, given: Arguments, budget: Budget) -> Any:
    """Pay for a filter. Returns the value that it is to be given."""
    whole = weight(value, budget, text=name not in ("list", "reverse", "sort", "unique", "groupby"))
    if name in SLOW_FILTERS and whole > SLOW_MOST:
        raise TemplateError(f"`{name}` of {whole:,} bytes; it takes at most {SLOW_MOST:,}")
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


def _center(value: Any, given: Arguments, budget: Budget) -> int:
    return 4 * bounded(given.at(0, "width", 80), WIDTH_MOST, "a width")


def _indent(value: Any, given: Arguments, budget: Budget) -> int:
    width = given.at(0, "width", 4)
    one = shallow(width) if isinstance(width, str) else bounded(width, WIDTH_MOST, "an indentation")
    return one * line_count(value)


def _replace(value: Any, given: Arguments, budget: Budget) -> int:
    return replaced_cost(str(value), given.at(0, "old", ""), given.at(1, "new", ""))


def _join(value: Any, given: Arguments, budget: Budget) -> int:
    between = given.at(0, "d", "")
    return shallow(between) * len(value) if isinstance(value, (*CONTAINERS, str)) else 0


def _percent(value: Any, given: Arguments, budget: Budget) -> int:
    return percent_cost(str(value), given.named or given.args, budget)


def _groups(value: Any, given: Arguments, budget: Budget) -> int:
    number = given.at(0, "linecount", given.at(0, "slices", 0))
    return NEW_TEXT_BYTES * abs(bounded(number, SLOW_MOST, "a number"))


def _round(value: Any, given: Arguments, budget: Budget) -> int:
    return abs(bounded(given.at(0, "precision", 0), PRECISION_MOST, "a precision"))


def _json(value: Any, given: Arguments, budget: Budget) -> int:
    indent = bounded(given.at(0, "indent", 0), INDENT_MOST, "an indentation")
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
    return stripped_cost(given.at(0, "chars"))


def _as_list(value: Any, given: Arguments, budget: Budget) -> int:
    return NEW_TEXT_BYTES * len(value) if isinstance(value, str) else 0


def _to_number(value: Any, given: Arguments, budget: Budget) -> int:
    return bounded(len(value), WIDTH_MOST, "a number's text") if isinstance(value, str) else 0


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
