"""Template costs: how many bytes an operator of a template makes, and what filters and methods reckon theirs from."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from rowmill.tasks.plan.template_budget import VALUE_BYTES, Budget, TemplateError, shallow, weight

WIDTH_MOST = 10_000
INTEGER_MOST_BITS = 65_536
STRIPPED_MOST = 100
# What takes longer than the length of its text, or needs many times its room, gets short texts only.
SLOW_MOST = 64 * 2**10
NEW_TEXT_BYTES = 64
LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


class Arguments(NamedTuple):
    """What a filter or a method of a value is called with."""

    args: tuple[Any, ...]
    named: dict[str, Any]

    def at(self, place: int, name: str, default: Any = None) -> Any:
        """The argument that stands at a place, or is given by its name."""
        return self.args[place] if len(self.args) > place else self.named.get(name, default)


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


def bounded(number: Any, most: int, what: str) -> int:
    """A whole number that a template gives, 0 for any other value. Raises TemplateError where it is beyond `most`."""
    if isinstance(number, int) and abs(number) > most:
        raise TemplateError(f"{what} of {number:,}; at most {most:,} is allowed")
    return number if isinstance(number, int) else 0


def line_count(text: Any) -> int:
    """Lines of a text as Python splits them."""
    return sum(text.count(end) for end in LINE_ENDS) + 1 if isinstance(text, str) else 1


def replaced_cost(text: str, old: Any, new: Any) -> int:
    """What is put in place of all that is replaced."""
    times = text.count(old) if isinstance(old, str) else 0
    return times * shallow(new)


def stripped_cost(chars: Any) -> int:
    """Looks at each character that is stripped. Raises TemplateError for a large set of them."""
    return bounded(len(chars), STRIPPED_MOST, "a set of characters") if isinstance(chars, str) else 0
