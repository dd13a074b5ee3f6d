"""Parse an answer: the model's text → one JSON value. Fixes only what cannot change meaning, and says what it fixed.

Every step reads the text a bounded number of times, whatever stands in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from rowmill.schemas.json_text import JsonTextError, decode_json

# A text larger than this is taken as it is or not at all: fixing is for slips, not for novels.
FIXED_MOST_CHARS = 1 << 20
FENCE = "```"
_scan = json.JSONDecoder(strict=True).raw_decode
_THINK_OPEN = re.compile(r"\s*+<(think|thinking)>")
_THINK_TAG = re.compile(r"<(/?)(?:think|thinking)>")
_FENCE_HEAD = re.compile(r"[A-Za-z0-9_-]*+[ \t]*+\r?\n")
_START = re.compile(r"[{\[]")
# What begins as JSON does, or as what is written in its place (single quotes, bare names): no word of prose in braces.
_BEGUN = re.compile(
    r"""\{\s*+(?:["'}/]|[A-Za-z_$][\w$-]*+\s*+:|\Z)"""
    r"""|\[\s*+(?:["'{\[\]/]|-?\d[\d.eE+-]*+\s*+(?:[,\]]|\Z)|(?:true|false|null|None|True|False)\s*+(?:[,\]]|\Z)|\Z)"""
)
_KEY = re.compile(r'"[ \t\r\n]*+:')
# Numbers that a double may not tell as they were written.
_LONG_NUMBER = re.compile(r"\d[\d.]{16,}|\d[eE]-?\d{3}")


class Parsed(msgspec.Struct, frozen=True):
    """A JSON value, the exact JSON text it was read from, and what was fixed to get at it."""

    value: Any
    text: str
    repair: str | None


Check = Callable[[Any, str, tuple[str, ...]], Parsed]


def parse_answer(text: str, *, check: Check | None = None) -> Parsed:
    """The one JSON value of an answer; `check` judges whether it is kept as it was written, in place of the usual.

    Raises JsonTextError where there is none, where there is a choice between several or the beginning of another, and
    where the value would not be kept as it was written: a key that stands twice with different values, a number of
    more digits than a double holds.
    """
    check = check or faithful
    try:
        return check(decode_json(text), text, ())
    except Unfaithful:
        raise
    except JsonTextError as error:
        first = error
    if len(text) > FIXED_MOST_CHARS:
        raise first
    bare, fixes = _without_think(text)
    found = _fixed(bare, fixes, check) or _in_fence(bare, fixes, check) or _in_prose(bare, fixes, check)
    if found is None:
        raise first
    return found


def as_read(value: Any, text: str, fixes: tuple[str, ...]) -> Parsed:
    """The parsed answer where its parts are judged one by one."""
    return Parsed(value, text, ", ".join(fixes) or None)


class Unfaithful(JsonTextError):
    """The text is a JSON value, of which something would be lost."""


def _fixed(text: str, fixes: tuple[str, ...], check: Check) -> Parsed | None:
    """The text as a value, as it stands or without slips; None where it is none."""
    for body, more in ((text, ()), clean_slips(text)):
        try:
            value = decode_json(body)
        except JsonTextError:
            continue
        return check(value, body.strip(), (*fixes, *more))
    return None


def _without_think(text: str) -> tuple[str, tuple[str, ...]]:
    """The text behind a byte order mark and the think blocks it begins with."""
    fixes: list[str] = []
    if text.startswith("\ufeff"):
        text, fixes = text[1:], ["byte order mark"]
    at = 0
    while (opened := _THINK_OPEN.match(text, at)) is not None:
        closing = f"</{opened[1]}>"
        end = text.find(closing, opened.end())
        if end < 0:
            raise JsonTextError("the think block does not end, so there is no answer behind it")
        at = end + len(closing)
    if at:
        fixes.append("think block")
    return text[at:], tuple(fixes)


def _in_fence(text: str, fixes: tuple[str, ...], check: Check) -> Parsed | None:
    """The content of the one code fence in a text, where nothing outside it looks like a value too."""
    pieces = text.split(FENCE, 4)
    if len(pieces) != 3 or (head := _FENCE_HEAD.match(pieces[1])) is None:
        return None
    found = _fixed(pieces[1][head.end() :], (*fixes, "code fence"), check)
    if found is not None and (_holds_value(pieces[0]) or _holds_value(pieces[2]) or _is_thought(pieces[0], pieces[2])):
        raise JsonTextError("several values stand in the answer, in a code fence and outside of it")
    return found


def _holds_value(prose: str) -> bool:
    return any(_BEGUN.match(prose, start.start()) for start in _START.finditer(prose))


def _in_prose(text: str, fixes: tuple[str, ...], check: Check) -> Parsed | None:
    """The one object or array in a text of prose; None where there is none, a choice, or the beginning of another."""
    found: tuple[int, int] | None = None
    at = 0
    while (start := _START.search(text, at)) is not None:
        at = start.end()
        if _BEGUN.match(text, start.start()) is None:
            continue
        try:
            _, at = _scan(text, start.start())
        except (ValueError, RecursionError):
            return None
        if found is not None:
            return None
        found = start.start(), at
    if found is None or _is_thought(text[: found[0]], text[found[1] :]):
        return None
    body = text[slice(*found)]
    return check(decode_json(body), body, (*fixes, "prose around the value"))


def _is_thought(before: str, after: str) -> bool:
    """Whether what stands between two texts belongs to a think block: a draft, not the answer."""
    tags = [tag[1] for tag in _THINK_TAG.finditer(before)]
    return bool(tags and not tags[-1]) or _THINK_TAG.search(after) is not None


def clean_slips(text: str) -> tuple[str, tuple[str, ...]]:
    """JSON text without comments and trailing commas, raw control characters in strings escaped; and what was done."""
    out: list[str] = []
    fixes: dict[str, None] = {}
    at, end, in_string = 0, len(text), False
    while at < end:
        char = text[at]
        if in_string:
            if char == "\\":
                out.append(text[at : at + 2])
                at += 2
                continue
            if char < " ":
                fixes["control characters"] = None
                char = json.dumps(char)[1:-1]
            in_string = text[at] != '"'
            out.append(char)
        elif char == '"':
            in_string = True
            out.append(char)
        elif text.startswith(("//", "/*"), at):
            is_line = text[at + 1] == "/"
            close = text.find("\n", at) if is_line else text.find("*/", at + 2)
            if close < 0 and not is_line:
                # A comment that does not end is a cut answer.
                return text, ()
            fixes["comments"] = None
            at = end if close < 0 else close + (0 if is_line else 2)
            continue
        elif char in "]}" and _drop_comma(out):
            fixes["trailing comma"] = None
            out.append(char)
        else:
            out.append(char)
        at += 1
    return "".join(out), tuple(fixes)


def _drop_comma(out: list[str]) -> bool:
    """Remove a comma that stands before a closing bracket; out holds one token a character outside strings."""
    at = len(out) - 1
    while at >= 0 and out[at].isspace():
        at -= 1
    if at <= 0 or out[at] != ",":
        return False
    before = at - 1
    while before >= 0 and out[before].isspace():
        before -= 1
    # "[,]" and "{,}" are no slip of a comma behind a value.
    if before < 0 or out[before] in "[{,:":
        return False
    del out[at]
    return True


def faithful(value: Any, text: str, fixes: tuple[str, ...]) -> Parsed:
    """The parsed answer. Raises Unfaithful where the value is not all that the text says."""
    keys, has_floats = _contents(value)
    if _written_keys(text) != keys or (has_floats and _LONG_NUMBER.search(text)):
        exact = read_exactly(text)
        if _contents(exact)[0] != keys:
            raise Unfaithful("two keys differ only in characters that no file can hold")
    return Parsed(value, text, ", ".join(fixes) or None)


def _contents(value: Any) -> tuple[int, bool]:
    """How many keys a value has, at all levels, and whether it holds a number with a fraction."""
    keys, has_floats = 0, False
    stack = [[value]]
    while stack:
        for one in stack.pop():
            kind = type(one)
            if kind is dict:
                keys += len(one)
                stack.append(one.values())
            elif kind is list:
                stack.append(one)
            elif kind is float:
                has_floats = True
    return keys, has_floats


def _written_keys(text: str) -> int:
    """How many keys a JSON text may have: all that it has, and what looks like one inside of a string."""
    if any(apart in text for apart in (" :", "\n:", "\t:", "\r:")):
        return len(_KEY.findall(text))
    return text.count('":')


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def read_exactly(text: str) -> Any:
    """A JSON text's value, its numbers as they are written.

    Raises Unfaithful for a key that stands twice with different values, and for a number that a double rounds.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_Number, parse_float=_double, strict=False)
    except RecursionError:
        raise Unfaithful("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made and not _same(made[key], value):
            raise Unfaithful(f"the key {json.dumps(key, ensure_ascii=False)[:100]} stands twice with different values")
        made[key] = value
    return made


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same, also in their types: 1, 1.0, true and "1" are four."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _double(written: str) -> _Number:
    if Decimal(written) != Decimal(repr(float(written))):
        raise Unfaithful(f"the number {written[:60]} has more digits than can be kept")
    return _Number(written)
