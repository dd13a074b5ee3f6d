"""Packs: the answer to a call for several rows: to each row what it would be told if it were asked alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rowmill.sandbox.chance import drawn_fault
from rowmill.sandbox.prompt import Prompt
from rowmill.sandbox.settings import Settings
from rowmill.schemas.pack import ANSWER, ROW, ROWS, PackText
from rowmill.schemas.request import SCHEMA_INSTRUCTION

_APART = "\n\n"
# Faults of one row's entry.
ENTRY = frozenset({"entry_missing", "entry_doubled", "entry_swapped", "entry_invalid"})


def packed_text(prompt: Prompt, pack: PackText, settings: Settings, *, answer: Callable[[Prompt], str]) -> str:
    """The JSON text of all entries; `answer` gives that of one row's own prompt."""
    schema = _answer_schema(prompt.schema)
    is_value = (schema is not None and schema != {"type": "string"}) or pack.schema is not None
    entries: list[dict[str, Any]] = []
    swapped: list[int] = []
    for token, own in pack.rows:
        text = answer(_alone(prompt, pack, own, schema=schema))
        entry = {ROW: token, ANSWER: json.loads(text) if is_value else text}
        match drawn_fault(own, 0, settings.seed, chances=settings.faults, kinds=ENTRY):
            case "entry_missing":
                continue
            case "entry_doubled":
                entries.append(entry)
            case "entry_swapped":
                swapped.append(len(entries))
            case "entry_invalid":
                entry = {ROW: token, ANSWER: {"unexpected": [1, 2, 3]}}
        entries.append(entry)
    for place in swapped:
        other = place - 1 if place else len(entries) - 1
        entries[place], entries[other] = entries[other], entries[place]
    return json.dumps({ROWS: entries}, ensure_ascii=False)


def _answer_schema(schema: Any) -> Any:
    """The schema of one row's answer in that of all; None where it does not travel by itself."""
    if not isinstance(schema, dict):
        return None
    try:
        inner = schema["properties"][ROWS]["items"]["properties"][ANSWER]
    except (KeyError, TypeError):
        return None
    return {**{name: schema[name] for name in ("$defs", "definitions") if name in schema}, **inner}


def _alone(prompt: Prompt, pack: PackText, own: str, *, schema: Any) -> Prompt:
    """The prompt with which a row would be asked alone."""
    first = pack.prompt_of(own)
    if pack.schema is not None:
        first = f"{first}{prompt.joint}{SCHEMA_INSTRUCTION}\n{pack.schema}"
    if pack.more is not None:
        first = f"{first}{prompt.joint if pack.schema is None else _APART}{pack.more}"
    return replace(prompt, text=prompt.text.replace(prompt.first, first), first=first, last=first, schema=schema)
