"""Prompt: what either protocol's request asks, in the sandbox's own words."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from rowmill.schemas.media_form import MediaForm

SCHEMA_KEYS = frozenset({"type", "properties", "$defs", "anyOf", "oneOf", "allOf", "enum", "$ref"})
_scan = json.JSONDecoder().raw_decode


class BadRequest(Exception):
    """A request that the gateway's pages do not allow; the message is the one the gateway would give."""


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    parameters: Any


@dataclass(frozen=True, slots=True)
class Medium:
    """A medium's form, and the resolution at which it is to be looked at (None: the usual one)."""

    form: MediaForm
    resolution: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request. `text` holds every turn, `first` and `last` the first and last user text.

    `answers` is how many it asks for: all are billed, one is given. `joint` stands between two texts of one turn.
    """

    model: str
    text: str
    first: str
    last: str
    turns: int
    media: tuple[Medium, ...] = ()
    schema: Any = None
    functions: tuple[Function, ...] = ()
    search: bool = False
    answered_function: bool = False
    effort: str = "high"
    include_thoughts: bool = False
    max_tokens: int | None = None
    stream: bool = False
    answers: int = 1
    joint: str = "\n\n"


def schema_in_text(text: str) -> Any:
    """The last JSON Schema that stands in a prompt, None where there is none."""
    found: Any = None
    at = 0
    while (start := text.find("{", at)) >= 0:
        try:
            value, end = _scan(text, start)
        except (ValueError, RecursionError):
            at = start + 1
            continue
        if isinstance(value, dict) and SCHEMA_KEYS & set(value):
            found = value
        at = end
    return found


def without_json(text: str) -> str:
    """The text up to the first brace: what a person would read as the prompt."""
    return re.split(r"[{\[]\s*[\"{]", text, maxsplit=1)[0]
