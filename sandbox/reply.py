"""Reply: a prompt → what the model would say and what it would use, before either protocol words it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from rowmill.sandbox.answers import Muse, instance
from rowmill.sandbox.chance import between, fraction
from rowmill.sandbox.listed_labels import with_listed_labels
from rowmill.sandbox.packs import packed_text
from rowmill.sandbox.prompt import Prompt, schema_in_text, without_json
from rowmill.sandbox.quotes import in_two_parts, is_in_two_parts, quotes_asked
from rowmill.sandbox.settings import Settings
from rowmill.schemas.media_tokens import tokens_of
from rowmill.schemas.pack import read_pack

CHARS_A_TOKEN = 4
TURN_TOKENS = 4
# Of a medium by address, which is not fetched.
MEDIA_TOKENS, WINDOW = 1_120, 1_000_000
SEARCH_TOKENS = 64
_UNKNOWN: Any = object()


@dataclass(frozen=True, slots=True)
class Reply:
    """Text or one function call, and billed tokens: input, visible output, thoughts."""

    text: str
    thoughts: str
    input: int
    output: int
    reasoning: int
    finish: str = "stop"
    call: tuple[str, Any] | None = None
    grounding: Any = None
    blocked_prompt: bool = False


def compose(prompt: Prompt, settings: Settings) -> Reply:
    """The reply to a prompt, without any fault."""
    muse = _muse(prompt)
    call = None
    if prompt.functions and not prompt.answered_function:
        wanted = prompt.functions[0]
        call = (wanted.name, instance(lowered(wanted.parameters) or {"type": "object"}, muse))
        text = ""
    elif (pack := read_pack(prompt.first)) is not None:
        inner = _in_company(settings) if len(pack.rows) > 1 else settings
        text = packed_text(prompt, pack, settings, answer=lambda one: _text(one, _muse(one), inner))
    else:
        text = _text(prompt, muse, settings)
    reasoning = between(20, 60, prompt.text) if prompt.effort == "low" else between(80, 400, prompt.text)
    visible = json.dumps(call[1]) if call else text
    reply = Reply(
        text=text,
        thoughts=f"Let me read: {' '.join(muse.words[:12])}." if prompt.include_thoughts else "",
        input=tokens(prompt.text) + TURN_TOKENS * prompt.turns + _media_tokens(prompt, settings)
        + SEARCH_TOKENS * prompt.search,
        output=tokens(visible),
        reasoning=reasoning,
        call=call,
        grounding=_grounding(prompt, muse) if prompt.search else None,
    )  # fmt: skip
    one = _cut(reply, prompt, settings)
    return replace(one, output=one.output * prompt.answers, reasoning=one.reasoning * prompt.answers)


def _in_company(settings: Settings) -> Settings:
    """How right labels are in a call that several rows share."""
    if settings.right_in_company is None:
        return settings
    return replace(settings, right=settings.right_in_company, right_of={})


def tokens(text: str) -> int:
    return max(1, -(-len(text) // CHARS_A_TOKEN))


def _media_tokens(prompt: Prompt, settings: Settings) -> int:
    counted = (
        tokens_of(one.form, settings.media_rule, resolution=one.resolution, fixed=MEDIA_TOKENS, window=WINDOW)
        for one in prompt.media
    )
    return sum(round(one.estimate) for one in counted)


def _muse(prompt: Prompt) -> Muse:
    asked = quotes_asked(prompt.first)
    return Muse.of(prompt.first if asked is None else asked.text)


def _text(prompt: Prompt, muse: Muse, settings: Settings) -> str:
    schema = with_listed_labels(lowered(prompt.schema) or schema_in_text(prompt.text), prompt.text)
    if schema is None:
        return f"In short: {' '.join(muse.words[:24])}." if muse.words else "There is little to say."
    known = next((answer for text, answer in settings.answers.items() if text in prompt.first), _UNKNOWN)
    asked = quotes_asked(prompt.first)
    if asked is not None and "output" in schema.get("properties", {}):
        if is_in_two_parts(known):
            return json.dumps(known, ensure_ascii=False)
        output = instance(schema["properties"]["output"], muse, schema) if known is _UNKNOWN else known
        return json.dumps(in_two_parts(output, muse, asked), ensure_ascii=False)
    if known is not _UNKNOWN:
        return json.dumps(known["output"] if is_in_two_parts(known) else known, ensure_ascii=False)
    value = instance(schema, muse)
    return json.dumps(_labelled(value, schema, prompt, settings=settings), ensure_ascii=False)


def lowered(schema: Any) -> Any:
    """Google's own schema form (type names in capitals, `nullable`) as JSON Schema."""
    if isinstance(schema, list):
        return [lowered(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: lowered(value) for key, value in schema.items() if key not in ("nullable", "propertyOrdering")}
    if isinstance(made.get("type"), str):
        made["type"] = [made["type"].lower(), "null"] if schema.get("nullable") else made["type"].lower()
    return made


def _labelled(value: Any, schema: Any, prompt: Prompt, *, settings: Settings) -> Any:
    """The labels that the settings know for this text, as often right as they tell."""
    gold = next((label for text, label in settings.labels.items() if text in prompt.first), None)
    if gold is None or not isinstance(value, dict):
        return value
    fields = schema.get("properties", {})
    if "label" in value and isinstance(gold, str):
        return {
            **value,
            "label": said_for(gold, fields.get("label", {}).get("enum", [gold]), prompt, settings=settings),
        }
    if "labels" in value:
        right = {gold} if isinstance(gold, str) else set(gold)
        options = fields.get("labels", {}).get("items", {}).get("enum", sorted(right))
        return {**value, "labels": [one for one in options if (one in right) == _is_right(prompt, settings, one)]}
    return value


def said_for(gold: str, options: list[str], prompt: Prompt, *, settings: Settings) -> str:
    """What is said of a text whose right label is `gold`: that one, one it is confused with, or any other."""
    left = fraction(settings.seed, prompt.model, prompt.text, "label")
    for said, chance in settings.confusion.get(gold, {}).items():
        if left < chance:
            return said
        left -= chance
    if gold not in settings.confusion and _is_right(prompt, settings, "label"):
        return gold
    others = [one for one in options if one != gold] or [gold]
    return others[between(0, len(others) - 1, settings.seed, prompt.text, "wrong")]


def _is_right(prompt: Prompt, settings: Settings, what: str) -> bool:
    return fraction(settings.seed, prompt.model, prompt.text, what) < settings.right_of.get(
        prompt.model, settings.right
    )


def _grounding(prompt: Prompt, muse: Muse) -> Any:
    query = without_json(prompt.last).strip()[:80]
    title = muse.snippet(3, 40, "source")
    return {
        "webSearchQueries": [query],
        "groundingChunks": [{"web": {"uri": "https://example.org/source", "title": title}}],
    }


def _cut(reply: Reply, prompt: Prompt, settings: Settings) -> Reply:
    """The reply within its maximum of tokens."""
    if prompt.max_tokens is None:
        return reply
    room = prompt.max_tokens - (reply.reasoning if settings.thoughts_count_as_output else 0)
    if room < 1 and settings.thoughts_count_as_output:
        return replace(reply, text="", output=0, reasoning=prompt.max_tokens, finish="length", call=None)
    if reply.output <= room:
        return reply
    return replace(reply, text=reply.text[: room * CHARS_A_TOKEN], output=room, finish="length", call=None)
