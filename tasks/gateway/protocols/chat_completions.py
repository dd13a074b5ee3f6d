"""Chat completions: encode and decode, no I/O. Source: the gateway's page 'Gemini 3 Pro'."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rowmill.schemas.attempt import Answer
from rowmill.schemas.catalogue import Model
from rowmill.schemas.json_text import decode_json, encode_json
from rowmill.schemas.request import AskOptions, FunctionCall, FunctionResult, Media, Part, Text, Turn
from rowmill.tasks.gateway.protocols.chat_answers import assemble as assemble
from rowmill.tasks.gateway.protocols.chat_answers import decode as decode
from rowmill.tasks.gateway.protocols.chat_demands import demands as demands

ROLES = {"system": "system", "user": "user", "model": "assistant", "tool": "tool"}
TURN_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "model", "tool": "tool"}
SEARCH = "googleSearch"
# The column of a row that holds its own turns, and the one that holds its line of a batch file.
TURNS_COLUMN, BATCH_COLUMN = "messages", "body"
LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")
# Set by rowmill itself on every call, whatever a batch line says.
OWN_FIELDS = frozenset({"model", "stream", "stream_options"})


def path(model: Model, *, stream: bool) -> str:
    return model.path


def wire(body: dict[str, Any], *, stream: bool) -> bytes:
    """Body bytes. `stream` is always given: the gateway's default is true. A stream's tokens are counted on request."""
    sent: dict[str, Any] = {**body, "stream": stream}
    if stream:
        sent["stream_options"] = {"include_usage": True}
    return encode_json(sent)


def body(turns: Iterable[Turn], ask: AskOptions, model: Model) -> dict[str, Any]:
    """Wire body of turns in the neutral form."""
    messages = [message for turn in turns for message in _messages(turn)]
    return _with_ask({"model": model.wire_name, "messages": messages}, ask, model)


def adopt(own: dict[str, Any], ask: AskOptions, model: Model) -> dict[str, Any]:
    """Wire body of a row that carries its own request: its fields stand, the job's fill the gaps."""
    kept = {key: value for key, value in own.items() if key not in OWN_FIELDS}
    return _with_ask({"model": model.wire_name, **kept}, ask, model)


def _with_ask(made: dict[str, Any], ask: AskOptions, model: Model) -> dict[str, Any]:
    params = ask.params
    if model.include_thoughts_field or params.include_thoughts:
        made.setdefault("include_thoughts", params.include_thoughts)
    if params.thinking is not None:
        made.setdefault("reasoning_effort", params.thinking)
    if params.temperature is not None:
        made.setdefault("temperature", params.temperature)
    if params.max_output_tokens is not None and all(made.get(name) is None for name in LIMIT_FIELDS):
        made["max_tokens"] = params.max_output_tokens
    if ask.schema is not None:
        form = {"name": ask.schema_name, "strict": True, "schema": ask.schema}
        made.setdefault("response_format", {"type": "json_schema", "json_schema": form})
    if params.search:
        made.setdefault("tools", [{"type": "function", "function": {"name": SEARCH}}])
    elif ask.tools:
        made.setdefault("tools", [_tool(tool.model_dump(exclude_defaults=True)) for tool in ask.tools])
    for name, value in params.extra.items():
        made.setdefault(name, value)
    return made


def excluded(made: dict[str, Any], model: Model) -> str | None:
    """Why the page forbids this body, None where it does not."""
    tools = made.get("tools") or []
    searches = [tool for tool in tools if (tool.get("function") or {}).get("name") == SEARCH]
    if tools and made.get("response_format") and not model.native_schema_with_tools:
        return "tools and response_format are mutually exclusive"
    if searches and len(searches) < len(tools) and not model.search_with_functions:
        return "Google Search and function calling are mutually exclusive"
    return None


def _tool(function: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": function}


def _messages(turn: Turn) -> list[dict[str, Any]]:
    """One turn → its messages: each function result is a message of its own in this protocol."""
    if len(turn.parts) == 1 and isinstance(turn.parts[0], Text):
        return [{"role": ROLES[turn.role], "content": turn.parts[0].text}]
    results = [part for part in turn.parts if isinstance(part, FunctionResult)]
    if results:
        return [
            {"role": "tool", "tool_call_id": part.id or part.name, "content": _text_of(part.content)}
            for part in results
        ]
    calls = [part for part in turn.parts if isinstance(part, FunctionCall)]
    rest = [part for part in turn.parts if not isinstance(part, (FunctionCall, FunctionResult))]
    message: dict[str, Any] = {"role": ROLES[turn.role], "content": _content(rest)}
    if calls:
        message["tool_calls"] = [
            {
                "id": part.id or part.name,
                "type": "function",
                "function": {"name": part.name, "arguments": encode_json(part.arguments).decode()},
            }
            for part in calls
        ]
        message["content"] = message["content"] or None
    return [message]


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else encode_json(value).decode()


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, Text))
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Media):
        # "All media types (image / video / audio / PDF) share the same image_url structure."
        url = part.url or f"data:{part.mime};base64,{part.base64}"
        return {"type": "image_url", "image_url": {"url": url}}
    raise TypeError(f"no content part: {part!r}")


def turns(own: dict[str, Any]) -> tuple[Turn, ...]:
    """Neutral turns of `messages`. Raises ValueError for what the neutral form cannot carry unharmed."""
    messages = own.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("`messages` must be a list with at least one message")
    names: dict[str, str] = {}
    return tuple(_turn(message, names) for message in messages)


def _turn(message: Any, names: dict[str, str]) -> Turn:
    if not isinstance(message, dict) or message.get("role") not in TURN_ROLES:
        raise ValueError("each message needs a role: system, user, assistant or tool")
    role, content = TURN_ROLES[message["role"]], message.get("content")
    if role == "tool":
        call_id = str(message.get("tool_call_id", ""))
        return Turn("tool", (FunctionResult(names.get(call_id, call_id), content, call_id),))
    parts: list[Part] = []
    if isinstance(content, str):
        parts.append(Text(content))
    elif isinstance(content, list):
        parts.extend(_neutral(part) for part in content)
    elif content is not None:
        raise ValueError("a message's content is text or a list of parts")
    for call in message.get("tool_calls") or []:
        function = call["function"]
        names[str(call.get("id"))] = function["name"]
        arguments = decode_json(function.get("arguments") or "{}")
        parts.append(FunctionCall(function["name"], arguments, call.get("id")))
    if not parts:
        raise ValueError("a message without content")
    return Turn(role, tuple(parts))  # type: ignore[arg-type]


def _neutral(part: Any) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return Text(part["text"])
    if kind == "image_url":
        url = part["image_url"]["url"]
        head, comma, content = url.partition(",")
        if head.startswith("data:") and head.endswith(";base64") and comma:
            return Media(head[5:-7], base64=content)
        return Media(None, url=url)
    raise ValueError(f"a content part of type {kind!r} has no counterpart in the other protocol")


def media_resolution(made: dict[str, Any]) -> str | None:
    """What a body asks for all of its media: this protocol has no field for it."""
    return None


def add_text(made: dict[str, Any], text: str) -> dict[str, Any]:
    """The body with text added to its last user message."""
    messages = list(made["messages"])
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].get("role") == "user":
            content = messages[at].get("content")
            if isinstance(content, list):
                content = [*content, {"type": "text", "text": text}]
            else:
                content = f"{content}\n\n{text}"
            messages[at] = {**messages[at], "content": content}
            return {**made, "messages": messages}
    return {**made, "messages": [*messages, {"role": "user", "content": text}]}


def add_system(made: dict[str, Any], text: str) -> dict[str, Any]:
    """The body with a system message, unless it has one of its own."""
    if any(message.get("role") in ("system", "developer") for message in made["messages"]):
        return made
    return {**made, "messages": [{"role": "system", "content": text}, *made["messages"]]}


def follow_up(made: dict[str, Any], answer: Answer, complaint: str) -> dict[str, Any]:
    """The body asked again after an answer that was not accepted."""
    said = [{"role": "assistant", "content": answer.text}, {"role": "user", "content": complaint}]
    return {**made, "messages": [*made["messages"], *said]}


def offers_functions(made: dict[str, Any]) -> bool:
    """Whether the body offers the model functions to call; a search is none."""
    tools = made.get("tools")
    offered = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return bool(made.get("functions")) or any(_function_name(tool) != SEARCH for tool in offered)


def _function_name(tool: dict[str, Any]) -> Any:
    function = tool.get("function")
    return function.get("name") if isinstance(function, dict) else None


def output_limit(made: dict[str, Any]) -> int | None:
    limits = [made[name] for name in LIMIT_FIELDS if isinstance(made.get(name), int)]
    return min(limits) if limits else None


def with_output_limit(made: dict[str, Any], tokens: int) -> dict[str, Any]:
    name = next((name for name in LIMIT_FIELDS if name in made), "max_tokens")
    kept = {key: value for key, value in made.items() if key not in LIMIT_FIELDS}
    return {**kept, name: tokens}
