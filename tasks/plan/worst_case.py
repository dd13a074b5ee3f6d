"""Worst case: the most that one call can use and cost, read from the body that is sent. Pure.

Every field that can make a call dearer stands in a table below, by protocol. What stands in none of them has no known
bound: under a cap such a body is refused before it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from rowmill.schemas.catalogue import Model
from rowmill.schemas.media_tokens import MEDIA_MOST

ANSWERS_MOST = 128


class WorstCase(NamedTuple):
    """The most tokens that a call may be billed for, and their price in 10⁻¹² USD (0 where the price is unknown)."""

    input_tokens: int
    output_tokens: int
    usd: int

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def worst_case(
    model: Model, body: dict[str, Any], size: int, *, output_tokens: int | None = None, media_most: int = 0
) -> WorstCase:
    """Worst case of a body that takes `size` bytes on the wire.

    No token is shorter than a byte. What a search, an address or a cached content brings along may fill the context
    window. Thoughts count within the limit of the answer (Google's `maxOutputTokens`); a thinking budget of the body's
    own is added to it. `output_tokens` stands in for the body's limit. `media_most` is what its media count for at the
    most, where they were looked at: a document of many pages takes few bytes.
    """
    demands = _demands(body, model)
    window = model.context_window
    input_tokens = window if demands.fills_window else min(size + max(MEDIA_MOST * demands.media, media_most), window)
    limit = output_tokens or _largest_limit(demands, model)
    for _, budget in demands.thinking:
        limit += _thinking_tokens(budget, model)
    answers = 1
    for _, count in demands.answers:
        answers = max(answers, count if _is_count(count) else 1)
    used_input, used_output, price = answers * input_tokens, answers * limit, model.price
    usd = price.most_usd(used_input, used_output) if price else 0
    return WorstCase(used_input, used_output, usd)


def refusal(model: Model, body: dict[str, Any], *, capped: bool) -> str | None:
    """Why a body must not be sent, naming the field; None where it may.

    A limit or a number of answers that is no positive whole number is always refused. Under a cap so is more than one
    answer, and each field whose cost has no known bound.
    """
    demands = _demands(body, model)
    for path, limit in demands.limits:
        name = _words(path)
        if not _is_count(limit):
            return f"{name} must be a whole number above 0, not {limit!r}"
        if limit > model.max_output_tokens:
            return f"{name} is {limit:,}, and {model.name} gives at most {model.max_output_tokens:,} output tokens"
    for path, count in demands.answers:
        name = _words(path)
        if not _is_count(count):
            return f"{name} must be a whole number above 0, not {count!r}"
        if count > ANSWERS_MOST:
            return f"{name} asks for {count:,} answers; at most {ANSWERS_MOST} are sent for"
        if count > 1 and capped:
            return f"{name} asks for {count:,} answers, which are all billed and of which one is kept: drop it"
    for path, budget in demands.thinking:
        name = _words(path)
        if not (_is_whole(budget) and -1 <= budget <= model.context_window):
            return f"{name} must be a whole number of tokens, not {budget!r}"
    if capped and demands.unknown:
        name = _words(demands.unknown[0])
        return f"what {name} costs at most is not known, so the cap could be passed: drop it or the cap"
    return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value > 0


def _largest_limit(demands: _Demands, model: Model) -> int:
    """The largest of several limits, since nobody knows which one is obeyed."""
    limits = [limit for _, limit in demands.limits if _is_count(limit)]
    return max(limits) if limits and len(limits) == len(demands.limits) else model.max_output_tokens


def _thinking_tokens(budget: Any, model: Model) -> int:
    return budget if _is_whole(budget) and budget >= 0 else model.max_output_tokens


# The object a field stands in, and its name or place there. Made for every field, turned into words for few.
_Path = tuple[Any, str | int]


@dataclass(slots=True)
class _Demands:
    """What a body asks for that costs more than its own bytes; each with the path of its field."""

    limits: tuple[tuple[_Path, Any], ...] = ()
    answers: tuple[tuple[_Path, Any], ...] = ()
    thinking: tuple[tuple[_Path, Any], ...] = ()
    unknown: tuple[_Path, ...] = ()
    media: int = 0
    fills_window: bool = False


def _words(path: _Path) -> str:
    outer, name = path
    return str(name) if outer is None else f"{_words(outer)}.{name}"


_Reader = Callable[[_Demands, _Path, Any], None]


@dataclass(frozen=True, slots=True)
class _Table:
    """The fields of one kind of object: what each costs, and how their names may be spelt."""

    fields: Mapping[str, _Reader]
    spelling: Callable[[str], str] | None = None

    def read(self, demands: _Demands, path: _Path | None, value: Any) -> None:
        """Each field of an object; null is what a missing field is."""
        if not isinstance(value, dict):
            if value is not None and path is not None:
                demands.unknown += (path,)
            return
        for name, inner in value.items():
            reader = self.fields.get(name if self.spelling is None else self.spelling(str(name)), _unknown)
            if reader is not _plain and inner is not None:
                reader(demands, (path, name), inner)


def _demands(body: dict[str, Any], model: Model) -> _Demands:
    demands = _Demands()
    TABLES[model.protocol].read(demands, None, body)
    return demands


def _plain(demands: _Demands, path: _Path, value: Any) -> None:
    """A field that costs its bytes at the most."""


def _unknown(demands: _Demands, path: _Path, value: Any) -> None:
    demands.unknown += (path,)


def _limit(demands: _Demands, path: _Path, value: Any) -> None:
    demands.limits += ((path, value),)


def _answers(demands: _Demands, path: _Path, value: Any) -> None:
    demands.answers += ((path, value),)


def _thinking_budget(demands: _Demands, path: _Path, value: Any) -> None:
    demands.thinking += ((path, value),)


def _fills_window(demands: _Demands, path: _Path, value: Any) -> None:
    demands.fills_window = True


def _medium(demands: _Demands, path: _Path, value: Any) -> None:
    demands.media += 1


def _only(*known: Any) -> _Reader:
    """A field of which these values alone make nothing dearer."""

    def read(demands: _Demands, path: _Path, value: Any) -> None:
        if value not in known:
            demands.unknown += (path,)

    return read


def _each(reader: _Reader) -> _Reader:
    """A field that holds one such value or a list of them."""

    def read(demands: _Demands, path: _Path, value: Any) -> None:
        if isinstance(value, list):
            for at, one in enumerate(value):
                reader(demands, (path, at), one)
        else:
            reader(demands, path, value)

    return read


def _text_or(reader: _Reader) -> _Reader:
    """A field that may be a text, which costs its bytes."""

    def read(demands: _Demands, path: _Path, value: Any) -> None:
        if not isinstance(value, str):
            reader(demands, path, value)

    return read


@lru_cache(4096)
def _camel(name: str) -> str:
    """Google's protocol reads snake case too."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _plain_fields(*names: str) -> dict[str, _Reader]:
    return dict.fromkeys(names, _plain)


def _url(demands: _Demands, path: _Path, value: Any) -> None:
    """A medium by content has the bytes that are sent; of one by address nobody here knows the size."""
    if isinstance(value, str) and value.startswith("data:"):
        demands.media += 1
    else:
        demands.fills_window = True


def _image(demands: _Demands, path: _Path, value: Any) -> None:
    if isinstance(value, str):
        _url(demands, path, value)
    else:
        _IMAGE.read(demands, path, value)


_IMAGE = _Table({"url": _url, "detail": _plain})
SEARCHES = frozenset({"googleSearch", "googleSearchRetrieval", "urlContext"})


def _chat_tool(demands: _Demands, path: _Path, value: Any) -> None:
    function = value.get("function") if isinstance(value, dict) else None
    if isinstance(function, dict) and value.get("type", "function") == "function":
        if _camel(str(function.get("name"))) in SEARCHES:
            demands.fills_window = True
        return
    _CHAT_SEARCH.read(demands, path, value)


_SEARCH_TOOLS: dict[str, _Reader] = dict.fromkeys(SEARCHES, _fills_window)
_CHAT_SEARCH = _Table({**_SEARCH_TOOLS, "type": _only("function")}, _camel)

# Source: the page 'Gemini 3 Pro', and OpenAI's reference for what other gateways of this protocol take.
_CHAT_PART = _Table({**_plain_fields("type", "text"), "image_url": _image})
_CHAT_MESSAGE = _Table(
    {
        **_plain_fields(
            "role", "name", "tool_calls", "tool_call_id", "function_call", "refusal", "reasoning", "reasoning_content"
        ),
        "content": _text_or(_each(_text_or(_CHAT_PART.read))),
    }
)
_CHAT_REASONING = _Table({**_plain_fields("effort", "exclude", "enabled"), "max_tokens": _thinking_budget})
CHAT_COMPLETIONS = _Table(
    {
        **_plain_fields(
            "model", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p", "stop", "seed",
            "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs",
            "response_format", "tool_choice", "parallel_tool_calls", "reasoning_effort", "include_thoughts",
            "verbosity", "user", "metadata", "store", "safety_identifier", "prompt_cache_key",
        ),
        "messages": _each(_CHAT_MESSAGE.read),
        "max_tokens": _limit,
        "max_completion_tokens": _limit,
        "n": _answers,
        "tools": _each(_chat_tool),
        "reasoning": _CHAT_REASONING.read,
        "thinking": _Table({"type": _plain, "budget_tokens": _thinking_budget}).read,
        "modalities": _only(["text"]),
        "service_tier": _only("default", "flex"),
    }
)  # fmt: skip

# Source: the page 'Gemini 3 Flash', and Google's reference of generateContent.
_GOOGLE_MEDIA: dict[str, _Reader] = {"inlineData": _medium, "fileData": _fills_window}
_GOOGLE_RESULT = _Table(
    {
        **_plain_fields("id", "name", "response", "willContinue", "scheduling"),
        "parts": _each(_Table(_GOOGLE_MEDIA, _camel).read),
    },
    _camel,
)
_GOOGLE_PART = _Table(
    {
        **_plain_fields("text", "thought", "thoughtSignature", "functionCall", "mediaResolution"),
        **_GOOGLE_MEDIA,
        "functionResponse": _GOOGLE_RESULT.read,
    },
    _camel,
)
_GOOGLE_CONTENT = _Table({"role": _plain, "parts": _each(_text_or(_GOOGLE_PART.read))}, _camel)
_GOOGLE_THINKING = _Table(
    {**_plain_fields("includeThoughts", "thinkingLevel"), "thinkingBudget": _thinking_budget}, _camel
)
_GOOGLE_CONFIG = _Table(
    {
        **_plain_fields(
            "temperature", "topP", "topK", "stopSequences", "seed", "presencePenalty", "frequencyPenalty", "logprobs",
            "responseLogprobs", "responseMimeType", "responseSchema", "responseJsonSchema", "mediaResolution",
        ),
        "maxOutputTokens": _limit,
        "candidateCount": _answers,
        "thinkingConfig": _GOOGLE_THINKING.read,
        "responseModalities": _only(["TEXT"], ["text"]),
    },
    _camel,
)  # fmt: skip
GENERATE_CONTENT = _Table(
    {
        **_plain_fields("model", "toolConfig", "safetySettings", "labels"),
        "contents": _text_or(_each(_text_or(_GOOGLE_CONTENT.read))),
        "systemInstruction": _text_or(_GOOGLE_CONTENT.read),
        "generationConfig": _GOOGLE_CONFIG.read,
        "tools": _each(_Table({"functionDeclarations": _plain, **_SEARCH_TOOLS}, _camel).read),
        "cachedContent": _fills_window,
    },
    _camel,
)

TABLES: dict[str, _Table] = {"chat-completions": CHAT_COMPLETIONS, "generate-content": GENERATE_CONTENT}
