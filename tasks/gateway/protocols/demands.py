"""Demands: what a body asks for that costs more than its own bytes, read by a table of fields for each protocol.

What stands in no table has no known bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# The object a field stands in, and its name or place there. Made for every field, turned into words for few.
Path = tuple[Any, str | int]


@dataclass(slots=True)
class Demands:
    """What a body asks for that costs more than its own bytes; each with the path of its field."""

    limits: tuple[tuple[Path, Any], ...] = ()
    answers: tuple[tuple[Path, Any], ...] = ()
    thinking: tuple[tuple[Path, Any], ...] = ()
    unknown: tuple[Path, ...] = ()
    media: int = 0
    fills_window: bool = False


def words(path: Path) -> str:
    """A field's path for people."""
    outer, name = path
    return str(name) if outer is None else f"{words(outer)}.{name}"


Reader = Callable[[Demands, Path, Any], None]


@dataclass(frozen=True, slots=True)
class Table:
    """The fields of one kind of object: what each costs, and how their names may be spelt."""

    fields: Mapping[str, Reader]
    spelling: Callable[[str], str] | None = None

    def read(self, demands: Demands, path: Path | None, value: Any) -> None:
        """Each field of an object; null is what a missing field is."""
        if not isinstance(value, dict):
            if value is not None and path is not None:
                demands.unknown += (path,)
            return
        for name, inner in value.items():
            reader = self.fields.get(name if self.spelling is None else self.spelling(str(name)), unknown)
            if reader is not plain and inner is not None:
                reader(demands, (path, name), inner)


def plain(demands: Demands, path: Path, value: Any) -> None:
    """A field that costs its bytes at the most."""


def unknown(demands: Demands, path: Path, value: Any) -> None:
    """A field whose cost has no known bound."""
    demands.unknown += (path,)


def limit(demands: Demands, path: Path, value: Any) -> None:
    """The most tokens of an answer."""
    demands.limits += ((path, value),)


def answers(demands: Demands, path: Path, value: Any) -> None:
    """How many answers are asked for."""
    demands.answers += ((path, value),)


def thinking_budget(demands: Demands, path: Path, value: Any) -> None:
    """Tokens of thought beside the answer's limit."""
    demands.thinking += ((path, value),)


def fills_window(demands: Demands, path: Path, value: Any) -> None:
    """A field that may bring along as much as the context window holds."""
    demands.fills_window = True


def medium(demands: Demands, path: Path, value: Any) -> None:
    """A medium by its content."""
    demands.media += 1


def only(*known: Any) -> Reader:
    """A field of which these values alone make nothing dearer."""

    def read(demands: Demands, path: Path, value: Any) -> None:
        if value not in known:
            demands.unknown += (path,)

    return read


def each(reader: Reader) -> Reader:
    """A field that holds one such value or a list of them."""

    def read(demands: Demands, path: Path, value: Any) -> None:
        if isinstance(value, list):
            for at, one in enumerate(value):
                reader(demands, (path, at), one)
        else:
            reader(demands, path, value)

    return read


def text_or(reader: Reader) -> Reader:
    """A field that may be a text, which costs its bytes."""

    def read(demands: Demands, path: Path, value: Any) -> None:
        if not isinstance(value, str):
            reader(demands, path, value)

    return read


@lru_cache(4096)
def camel(name: str) -> str:
    """Google's protocol reads snake case too."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def plain_fields(*names: str) -> dict[str, Reader]:
    """Fields that cost their bytes at the most."""
    return dict.fromkeys(names, plain)


def url(demands: Demands, path: Path, value: Any) -> None:
    """A medium by content has the bytes that are sent; of one by address nobody here knows the size."""
    if isinstance(value, str) and value.startswith("data:"):
        demands.media += 1
    else:
        demands.fills_window = True


SEARCHES = frozenset({"googleSearch", "googleSearchRetrieval", "urlContext"})
SEARCH_TOOLS: dict[str, Reader] = dict.fromkeys(SEARCHES, fills_window)
