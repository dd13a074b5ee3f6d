"""Answer: the model's text → one JSON value. Mends only what cannot change meaning, and says what it mended."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from rowmill.schemas.json_text import JsonTextError, decode_json

# A text larger than this is taken as it is or not at all: mending is for slips, not for novels.
MEND_MOST_CHARS = 1 << 20
STARTS_MOST = 200
_THINK = re.compile(r"\A\s*<(think|thinking)>.*?</\1>", re.DOTALL)
_FENCE = re.compile(r"```[A-Za-z0-9_-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```", re.DOTALL)
_scan = json.JSONDecoder(strict=True).raw_decode


class Parsed(msgspec.Struct, frozen=True):
    """A JSON value, the exact JSON text it was read from, and what was mended to get at it."""

    value: Any
    text: str
    repair: str | None


def parse_answer(text: str) -> Parsed:
    """The one JSON value of an answer. Raises JsonTextError where there is none, or more than one to choose from."""
    try:
        return Parsed(decode_json(text), text, None)
    except JsonTextError as error:
        first = error
    if len(text) > MEND_MOST_CHARS:
        raise first
    for candidate, mends in _candidates(text):
        for body, more in ((candidate, ()), *_cleaned(candidate)):
            try:
                value = decode_json(body)
            except JsonTextError:
                continue
            return Parsed(value, body.strip(), ", ".join((*mends, *more)))
    found = _only_value(_without_think(text)[0])
    if found is not None:
        return Parsed(decode_json(found), found, "prose around the value")
    raise first


def _without_think(text: str) -> tuple[str, tuple[str, ...]]:
    mends: list[str] = []
    if text.startswith("\ufeff"):
        text, mends = text[1:], ["byte order mark"]
    shorter = _THINK.sub("", text, count=1)
    if shorter != text:
        mends.append("think block")
    return shorter, tuple(mends)


def _candidates(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """The whole text without what comes before an answer, and the content of its one code fence."""
    bare, mends = _without_think(text)
    found = [(bare, mends)]
    fences = _FENCE.findall(bare)
    if len(fences) == 1:
        found.append((fences[0], (*mends, "code fence")))
    return found


def _cleaned(text: str) -> list[tuple[str, tuple[str, ...]]]:
    clean, mends = clean_slips(text)
    return [(clean, mends)] if mends else []


def clean_slips(text: str) -> tuple[str, tuple[str, ...]]:
    """JSON text without comments and trailing commas, raw control characters in strings escaped; and what was done."""
    out: list[str] = []
    mends: dict[str, None] = {}
    at, end, in_string = 0, len(text), False
    while at < end:
        char = text[at]
        if in_string:
            if char == "\\":
                out.append(text[at : at + 2])
                at += 2
                continue
            if char < " ":
                mends["control characters"] = None
                char = json.dumps(char)[1:-1]
            in_string = text[at] != '"'
            out.append(char)
        elif char == '"':
            in_string = True
            out.append(char)
        elif text.startswith(("//", "/*"), at):
            mends["comments"] = None
            close = text.find("\n", at) if text[at + 1] == "/" else text.find("*/", at + 2)
            at = end if close < 0 else close + (0 if text[at + 1] == "/" else 2)
            continue
        elif char in "]}" and _drop_comma(out):
            mends["trailing comma"] = None
            out.append(char)
        else:
            out.append(char)
        at += 1
    return "".join(out), tuple(mends)


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


def _only_value(text: str) -> str | None:
    """The one object or array in a text of prose; None where there is none, or a choice between several."""
    found: str | None = None
    at = starts = 0
    while (start := _next_start(text, at)) >= 0:
        starts += 1
        if starts > STARTS_MOST:
            return None
        try:
            _, end = _scan(text, start)
        except (ValueError, RecursionError):
            at = start + 1
            continue
        if found is not None:
            return None
        found, at = text[start:end], end
    return found


def _next_start(text: str, at: int) -> int:
    starts = [place for place in (text.find("{", at), text.find("[", at)) if place >= 0]
    return min(starts, default=-1)
