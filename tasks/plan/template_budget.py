"""Template budget: what one rendering may still make and do, and how much a value is of that."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, ValuesView
from typing import Any

from jinja2.runtime import Undefined

# Bytes that one prompt's operators, filters and methods may make, and steps it may take, of which a loop's turn is one
# for each node in its body: both are some tenths of a second.
MADE_MOST = 32 * 2**20
STEPS_MOST = 1_500_000
ITEM_BYTES = 16
VALUE_BYTES = 64

VIEWS = (KeysView, ItemsView, ValuesView)
CONTAINERS = (list, tuple, dict, set, frozenset, range, *VIEWS)
BINARY = (bytes, bytearray, memoryview)


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
