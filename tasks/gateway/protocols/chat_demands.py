"""Chat demands: what each field of a chat completion's body can cost beside its bytes."""

from __future__ import annotations

from typing import Any

from rowmill.tasks.gateway.protocols.demands import (
    SEARCH_TOOLS,
    SEARCHES,
    Demands,
    Path,
    Table,
    answers,
    camel,
    each,
    limit,
    only,
    plain,
    plain_fields,
    text_or,
    thinking_budget,
    url,
)


def _image(demands: Demands, path: Path, value: Any) -> None:
    if isinstance(value, str):
        url(demands, path, value)
    else:
        _IMAGE.read(demands, path, value)


_IMAGE = Table({"url": url, "detail": plain})


def _chat_tool(demands: Demands, path: Path, value: Any) -> None:
    function = value.get("function") if isinstance(value, dict) else None
    if isinstance(function, dict) and value.get("type", "function") == "function":
        if camel(str(function.get("name"))) in SEARCHES:
            demands.fills_window = True
        return
    _CHAT_SEARCH.read(demands, path, value)


_CHAT_SEARCH = Table({**SEARCH_TOOLS, "type": only("function")}, camel)

# Source: the page 'Gemini 3 Pro', and OpenAI's reference for what other gateways of this protocol take.
_CHAT_PART = Table({**plain_fields("type", "text"), "image_url": _image})
_CHAT_MESSAGE = Table(
    {
        **plain_fields(
            "role", "name", "tool_calls", "tool_call_id", "function_call", "refusal", "reasoning", "reasoning_content"
        ),
        "content": text_or(each(text_or(_CHAT_PART.read))),
    }
)
_CHAT_REASONING = Table({**plain_fields("effort", "exclude", "enabled"), "max_tokens": thinking_budget})
CHAT_COMPLETIONS = Table(
    {
        **plain_fields(
            "model", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p", "stop", "seed",
            "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs",
            "response_format", "tool_choice", "parallel_tool_calls", "reasoning_effort", "include_thoughts",
            "verbosity", "user", "metadata", "store", "safety_identifier", "prompt_cache_key",
        ),
        "messages": each(_CHAT_MESSAGE.read),
        "max_tokens": limit,
        "max_completion_tokens": limit,
        "n": answers,
        "tools": each(_chat_tool),
        "reasoning": _CHAT_REASONING.read,
        "thinking": Table({"type": plain, "budget_tokens": thinking_budget}).read,
        "modalities": only(["text"]),
        "service_tier": only("default", "flex"),
    }
)  # fmt: skip


def demands(body: dict[str, Any]) -> Demands:
    """What a body asks for that costs more than its bytes."""
    found = Demands()
    CHAT_COMPLETIONS.read(found, None, body)
    return found
