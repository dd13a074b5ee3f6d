"""Entries: the answer of a call for several rows → one text for each of them, exactly as it was told.

What is wrong with one entry is that row's alone: its text is judged as if it had come alone. Only an answer that is no
list of entries at all, or is cut, is nobody's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.json_text import JsonTextError
from rowmill.schemas.pack import ANSWER, ROW, ROWS
from rowmill.tasks.answers.parser import as_read, parse_answer

_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands for one row: `text` is its answer as JSON text, or `wrong` says why there is none, and of what kind
    that failure is.
    """

    text: str = ""
    wrong: str | None = None
    kind: FailureKind = FailureKind.MISSING_ENTRY


@dataclass(frozen=True, slots=True)
class Entries:
    """An answer's entries in the order of the rows that were asked, and what was mended to read them."""

    each: Sequence[Entry]
    repair: str | None


def read_entries(text: str, tokens: Sequence[str]) -> Entries:
    """The entries of these rows. Raises JsonTextError where the answer as a whole names none of them.

    An entry stands in its place where all named before it were asked before it, and all behind it behind it; of two
    that changed places nobody knows which one is right.
    """
    parsed = parse_answer(text, check=as_read)
    place_of = {token: place for place, token in enumerate(tokens)}
    found: dict[int, list[Entry]] = {}
    order: list[int] = []
    for raw in _listed(parsed.text):
        token, entry = _entry(raw)
        place = place_of.get(token) if token is not None else None
        if place is None:
            continue
        found.setdefault(place, []).append(entry)
        order.append(place)
    if not found:
        raise JsonTextError("the answer names none of the rows")
    moved = _out_of_place(order)
    return Entries([_one(found.get(place, []), is_moved=place in moved) for place in range(len(tokens))], parsed.repair)


def _one(entries: Sequence[Entry], *, is_moved: bool) -> Entry:
    if not entries:
        return Entry(wrong="the answer for several rows has no entry for this one")
    if len(entries) > 1:
        return Entry(wrong="the answer for several rows names this one twice", kind=FailureKind.MISPLACED_ENTRY)
    if is_moved:
        return Entry(wrong="the entry of this row stands in another's place", kind=FailureKind.MISPLACED_ENTRY)
    return entries[0]


def _out_of_place(order: Sequence[int]) -> set[int]:
    """Places of rows that are part of an inversion."""
    moved: set[int] = set()
    most = -1
    for place in order:
        if place < most:
            moved.add(place)
        most = max(most, place)
    least = len(order) + max(order, default=0) + 1
    for place in reversed(order):
        if place > least:
            moved.add(place)
        least = min(least, place)
    return moved


def _listed(text: str) -> Sequence[msgspec.Raw]:
    """The entries as they are written. Raises JsonTextError."""
    try:
        if text.lstrip()[:1] == "[":
            return _raw_list.decode(text)
        whole = _raw_object.decode(text)
        if set(whole) != {ROWS} or not _stands_once(text, ROWS):
            raise JsonTextError(f"the answer is no object with {ROWS!r} alone")
        return _raw_list.decode(whole[ROWS])
    except msgspec.MsgspecError as error:
        raise JsonTextError(f"the answer is no list of entries: {error}") from None


def _entry(raw: msgspec.Raw) -> tuple[str | None, Entry]:
    """The token that an entry names, None for none, and the entry."""
    text = bytes(raw).decode("utf-8")
    try:
        parts = _raw_object.decode(raw)
        token = _text.decode(parts[ROW])
    except (msgspec.MsgspecError, KeyError):
        return None, Entry(wrong="it names no row")
    if set(parts) != {ROW, ANSWER} or not (_stands_once(text, ROW) and _stands_once(text, ANSWER)):
        wrong = f"an entry has the fields {ROW!r} and {ANSWER!r}, each once"
        return token, Entry(wrong=wrong, kind=FailureKind.SCHEMA_VIOLATION)
    return token, Entry(bytes(parts[ANSWER]).decode("utf-8"))


def _stands_once(text: str, key: str) -> bool:
    """Whether an object's text has a key once, at its top level."""
    if text.count(f'"{key}"') == 1 and "\\u" not in text:
        return True
    try:
        pairs: Any = json.loads(text, object_pairs_hook=list, strict=False)
    except (ValueError, RecursionError):
        return False
    return [name for name, _ in pairs].count(key) == 1


def plain_text(text: str) -> str | None:
    """The text that a JSON text is, where a row's answer is text; None for another value."""
    try:
        return _text.decode(text)
    except msgspec.MsgspecError:
        return None
