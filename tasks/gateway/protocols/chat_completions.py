"""Chat completions: encode and decode, no I/O. Source: the gateway's page 'Gemini 3 Pro'."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rowmill.schemas.attempt import Answer, ToolCall
from rowmill.schemas.catalogue import Model
from rowmill.schemas.json_text import decode_json, encode_json
from rowmill.schemas.request import AskOptions, FunctionCall, FunctionResult, Media, Part, Text, Turn
from rowmill.schemas.usage import Usage, split_usage
from rowmill.tasks.gateway.protocols.event_stream import ErrorInAnswer, StreamCut, no_answer
from rowmill.tasks.gateway.protocols.fields import (
    Broken,
    NoCount,
    Unreadable,
    answer_text,
    arguments,
    count,
    is_first,
    side_text,
    thoughts,
    word,
)
from rowmill.tasks.gateway.protocols.finish import Ending, ending

ROLES = {"system": "system", "user": "user", "model": "assistant", "tool": "tool"}
TURN_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "model", "tool": "tool"}
SEARCH = "googleSearch"
LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")
# Set by rowmill itself on every call, whatever a batch line says.
OWN_FIELDS = frozenset({"model", "stream", "stream_options"})


def path(model: Model, *, stream: bool) -> str:
    return model.path


def wire(body: dict[str, Any], *, stream: bool) -> bytes:
    """Body bytes. `stream` is always given: the gateway's default is true. Servers count a stream's tokens on request."""
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
    if params.max_output_tokens is not None and output_limit(made) is None:
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


def _tool(told: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": told}


def _messages(turn: Turn) -> list[dict[str, Any]]:
    """One turn → its messages: each function result is a message of its own in this protocol."""
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


def decode(payload: Any) -> Answer:
    """A 200's JSON → answer. Raises Unreadable where it holds neither an answer nor a bill, ErrorInAnswer."""
    if not isinstance(payload, dict):
        raise Unreadable("the answer is no JSON object")
    told = usage(payload.get("usage"))
    choice = _first_choice(payload, told)
    if choice is None:
        return Answer("", told, model=word(payload.get("model")))
    finish = word(choice.get("finish_reason"))
    ended = ending(finish)
    text, broken = "", None
    calls: tuple[ToolCall, ...] = ()
    message = choice.get("message")
    try:
        if not isinstance(message, dict):
            raise Broken("there is no `message` in the first choice")
        text = answer_text(message.get("content"), "content")
        calls = _tool_calls(message)
    except Broken as error:
        if told is None:
            raise Unreadable(f"no answer in it: {error}") from None
        message, broken = message if isinstance(message, dict) else {}, str(error)
    if ended is Ending.BROKEN:
        broken = f"the finish reason is {finish!r}"
    refusal = message.get("refusal")
    return Answer(
        text=text,
        usage=told,
        finish_reason=finish,
        model=word(payload.get("model")),
        thoughts=thoughts(message.get("reasoning_content")) or thoughts(message.get("reasoning")) or None,
        cut=ended is Ending.CUT,
        blocked=_refusal(refusal) if refusal else finish if ended is Ending.BLOCKED else None,
        broken=broken,
        unfinished=ended is Ending.NOT_SAID,
        tool_calls=calls,
        grounding=_grounding(message, choice),
    )


def _first_choice(payload: dict[str, Any], told: Usage | None) -> dict[str, Any] | None:
    """The first choice; None for an answer that was billed and has none. Raises Unreadable, ErrorInAnswer."""
    choices = payload.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        if choices[0].get("error"):
            raise ErrorInAnswer(choices[0])
        return choices[0]
    if told is None:
        raise no_answer(payload, "`choices`")
    return {} if choices else None


def _refusal(value: Any) -> str:
    return value if isinstance(value, str) else thoughts(value) or "refusal"


def assemble(events: list[Any], *, ended: bool) -> Any:
    """Chunks of a stream → the answer as it would have come whole. Raises StreamCut where its end is missing.

    Pieces that are no text are kept as parts, for `decode` to judge as it judges those of a whole answer.
    """
    pieces: dict[str, list[Any]] = {"content": []}
    calls: list[dict[str, Any]] = []
    made: dict[str, Any] = {}
    last: dict[str, Any] = {}
    finish: Any = None
    for chunk in events:
        if not isinstance(chunk, dict):
            raise Unreadable("no JSON object in an event of the stream")
        made |= {key: chunk[key] for key in ("model", "usage") if chunk.get(key)}
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict) or not is_first(choice.get("index")):
                continue
            if choice.get("error"):
                raise ErrorInAnswer(choice)
            delta = choice.get("delta") or choice.get("message")
            if isinstance(delta, dict):
                _add_delta(pieces, calls, last, delta)
            elif delta is not None:
                pieces["content"].append({"type": "text", "text": delta})
            finish = choice.get("finish_reason") or finish
    if finish is None and not ended:
        raise StreamCut("the stream ended before the answer was complete")
    message: dict[str, Any] = {name: _joined(found) for name, found in pieces.items()} | last
    if calls:
        message["tool_calls"] = calls
    return {**made, "choices": [{"message": message, "finish_reason": finish}]}


PIECED = frozenset({"content", "reasoning_content", "reasoning", "refusal"})


def _add_delta(
    pieces: dict[str, list[Any]], calls: list[dict[str, Any]], last: dict[str, Any], delta: dict[str, Any]
) -> None:
    """Add a delta: texts come in pieces, other fields whole."""
    for name, piece in delta.items():
        if piece is None or name == "role":
            continue
        if name in PIECED:
            pieces.setdefault(name, []).append(piece)
        elif name == "tool_calls":
            for call in piece if isinstance(piece, list) else (piece,):
                _add_call(calls, call)
        else:
            last[name] = piece


def _joined(pieces: list[Any]) -> Any:
    if all(type(piece) is str for piece in pieces):
        return "".join(pieces)
    parts: list[Any] = []
    for piece in pieces:
        parts.extend(piece if isinstance(piece, list) else (piece,))
    return parts


def _add_call(calls: list[dict[str, Any]], piece: Any) -> None:
    """A piece of a tool call: its id and name come once, its arguments in pieces."""
    function = piece.get("function") if isinstance(piece, dict) else piece
    if not isinstance(piece, dict) or not isinstance(function, (dict, type(None))):
        # A call without a name, which `decode` refuses.
        calls.append(_new_call(None, None))
        return
    told = function or {}
    call_id, name, index = word(piece.get("id")), word(told.get("name")), word(piece.get("index"))
    call = _call_of(calls, call_id, name, index)
    if call is None:
        call = _new_call(call_id, index)
        calls.append(call)
    made = call["function"]
    if name and name != made["name"]:
        made["name"] += name
    more = told.get("arguments")
    if isinstance(more, str) and isinstance(made["arguments"], str):
        made["arguments"] += more
    elif more is not None:
        made["arguments"] = more


def _new_call(call_id: str | None, index: str | None) -> dict[str, Any]:
    return {"id": call_id, "index": index, "function": {"name": "", "arguments": None}}


def _call_of(
    calls: list[dict[str, Any]], call_id: str | None, name: str | None, index: str | None
) -> dict[str, Any] | None:
    """The call that a piece goes on with; None where it begins another.

    Servers give each call an index, as documented; or all of them the same or none: then another id with a name, or
    another name where one is known, begins another call.
    """
    if call_id is not None:
        for call in calls:
            if call["id"] == call_id:
                return call
    same = [call for call in calls if index is None or call["index"] in (index, None)]
    if not same:
        return None
    last = same[-1]
    known = last["function"]
    if call_id is not None and last["id"] is not None and name is not None:
        return None
    if name is not None and known["name"] and name != known["name"] and known["arguments"] is not None:
        return None
    return last


def _tool_calls(message: dict[str, Any]) -> tuple[ToolCall, ...]:
    """The functions that the message calls. Raises Broken."""
    calls = message.get("tool_calls")
    if not calls:
        old = message.get("function_call")
        return (_tool_call({"function": old}),) if old else ()
    return tuple([_tool_call(call) for call in (calls if isinstance(calls, list) else (calls,))])


def _tool_call(call: Any) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or (name := word(function.get("name"))) is None:
        raise Broken("a tool call has no name")
    return ToolCall(name, arguments(function.get("arguments")), word(call.get("id")))


def _grounding(message: dict[str, Any], choice: dict[str, Any]) -> str | None:
    """Where the page is silent, what gateways to Gemini send: grounding metadata, or OpenAI's annotations."""
    for holder in (message, choice):
        for name in ("grounding_metadata", "groundingMetadata", "annotations"):
            if holder.get(name):
                return side_text(holder[name])
    return None


def usage(told: Any) -> Usage | None:
    """Usage as this protocol reports it; None where it is missing, or counts what cannot be counted."""
    if not isinstance(told, dict):
        return None
    details = told.get("completion_tokens_details")
    total = told.get("total_tokens")
    prompt, completion = told.get("prompt_tokens"), told.get("completion_tokens")
    if prompt is None or (completion is None and total is None):
        return None
    try:
        return split_usage(
            count(prompt),
            count(completion),
            count(details.get("reasoning_tokens")) if isinstance(details, dict) else 0,
            None if total is None else count(total),
            inside=True,
        )
    except NoCount:
        return None
