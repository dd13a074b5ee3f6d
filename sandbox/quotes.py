"""Quotes: an answer in two parts, its quotes drawn from the prompt word for word; and what goes wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rowmill.sandbox.answers import Muse
from rowmill.sandbox.chance import between
from rowmill.schemas.request import EVIDENCE_MARK, SCHEMA_INSTRUCTION

QUOTE_FAULTS = frozenset({"quote_reflowed", "quote_requoted", "quote_invented", "quote_missing"})
# Before these, and among so many characters, a prompt says what is asked of the text that follows.
HEAD_CHARS = 200
_HEAD = re.compile(r":\s|\n")
_ASKED = re.compile(r"one entry for (.*?) that is not null", re.DOTALL)
_NUMBER = re.compile(r"(?:(?<!\d)-)?\d+(?:\.\d+)?")
_PIECE = re.compile(r"\S[^\n]{0,40}\S|\S")


@dataclass(frozen=True, slots=True)
class QuotesAsked:
    """What a prompt asks of the quotes: the text without that, and the fields by JSON pointer, none for all."""

    text: str
    fields: tuple[str, ...]


def quotes_asked(text: str) -> QuotesAsked | None:
    """None for a prompt that asks for none."""
    before, mark, after = text.partition(EVIDENCE_MARK)
    if not mark:
        return None
    bare = before[:-2] if before.endswith("\n\n") else before.removesuffix("\n")
    told = _ASKED.search(after)
    which = told[1] if told is not None else ""
    if not which.startswith("each value at "):
        return QuotesAsked(bare, ())
    return QuotesAsked(bare, tuple(which.removeprefix("each value at ").partition(" (*")[0].split(", ")))


def is_in_two_parts(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.keys() == {"output", "evidence"}


def in_two_parts(output: Any, muse: Muse, asked: QuotesAsked) -> dict[str, Any]:
    """An answer as it would come without quotes, and a quote for each of its values."""
    text = muse.text.partition(SCHEMA_INSTRUCTION)[0].rstrip()
    head = _HEAD.search(text, 0, HEAD_CHARS)
    body = (text[head.end() :] if head is not None else "") or text
    wanted = [field.split("/") for field in asked.fields]
    return {
        "output": output,
        "evidence": [
            {"field": pointer, "quote": _quote(value, body, pointer)}
            for pointer, value in _values(output, "")
            if not wanted or any(_is_in(pointer.split("/"), steps) for steps in wanted)
        ],
    }


def _values(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _values(part, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from _values(part, f"{pointer}/{at}")
    elif value is not None:
        yield pointer, value


def _is_in(steps: list[str], wanted: list[str]) -> bool:
    return len(steps) >= len(wanted) and all(one in (step, "*") for step, one in zip(steps, wanted, strict=False))


def _quote(value: Any, body: str, pointer: str) -> str:
    """Where the value stands in the text, else some words of it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        for number in _NUMBER.finditer(body):
            if float(number[0]) == value:
                return number[0]
    if isinstance(value, str) and value.split():
        words = r"\W+".join(map(re.escape, value.split()[:12]))
        if (found := re.search(words, body)) is not None:
            return found[0]
    pieces = _PIECE.findall(body)
    return pieces[between(0, len(pieces) - 1, body, pointer, "quote")] if pieces else body


def spoiled_quotes(text: str, kind: str) -> str:
    """An answer whose quotes are typeset differently (all of them), invented or missing (the first)."""
    try:
        answer = json.loads(text)
        entries = answer["evidence"]
    except (ValueError, TypeError, KeyError):
        return text
    if kind == "quote_reflowed":
        entries = [{**one, "quote": one["quote"].replace(" ", "\n  ")} for one in entries]
    elif kind == "quote_requoted":
        entries = [{**one, "quote": f"\u201c{one['quote']}\u201d".replace("-", "\u2011")} for one in entries]
    elif kind == "quote_missing":
        entries = entries[1:]
    else:
        entries = [{**one, "quote": f"they agreed: {one['quote'][::-1]}"} for one in entries[:1]] + entries[1:]
    return json.dumps({**answer, "evidence": entries}, ensure_ascii=False)
