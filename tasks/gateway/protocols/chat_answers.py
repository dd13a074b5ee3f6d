"""Chat answers: a 200 of chat completions, whole or in chunks → an answer, no I/O. Total over its fields' types."""

from __future__ import annotations

from typing import Any

from rowmill.schemas.attempt import Answer, ToolCall
from rowmill.schemas.usage import Usage, split_usage
from rowmill.tasks.gateway.protocols.event_stream import ErrorInAnswer, StreamCut, no_answer
from rowmill.tasks.gateway.protocols.fields import (
    Broken,
    NoCount,
    Unreadable,
    answer_text,
    arguments,
    count,
    first_of,
    is_first,
    refused_part,
    side_text,
    thoughts,
    word,
)
from rowmill.tasks.gateway.protocols.finish import Ending, ending


def decode(payload: Any) -> Answer:
    """A 200's JSON → answer. Raises Unreadable where it holds neither an answer nor a bill, ErrorInAnswer."""
    if not isinstance(payload, dict):
        raise Unreadable("the answer is no JSON object")
    bill = usage(payload.get("usage"))
    choice = _first_choice(payload, bill)
    if choice is None:
        return Answer("", bill, model=word(payload.get("model")))
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
        if bill is None:
            raise Unreadable(f"no answer in it: {error}") from None
        message, broken = message if isinstance(message, dict) else {}, str(error)
    if ended is Ending.BROKEN:
        broken = f"the finish reason is {finish!r}"
    refusal = message.get("refusal") or refused_part(message.get("content"))
    return Answer(
        text=text,
        usage=bill,
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


def _first_choice(payload: dict[str, Any], bill: Usage | None) -> dict[str, Any] | None:
    """The first choice; None for an answer that was billed and has none. Raises Unreadable, ErrorInAnswer."""
    choices = payload.get("choices")
    choice = first_of(choices)
    if choice is not None:
        if choice.get("error"):
            raise ErrorInAnswer(choice)
        return choice
    if bill is None:
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
            delta = choice.get("delta") or (choice.get("message") if not _repeats(choice, pieces) else None)
            if isinstance(delta, dict):
                _add_delta(pieces, calls, last, delta=delta)
            elif delta is not None:
                pieces["content"].append({"type": "text", "text": delta})
            finish = choice.get("finish_reason") or finish
            if choice.get("usage"):
                made.setdefault("usage", choice["usage"])
    if finish is None and not ended:
        raise StreamCut("the stream ended before the answer was complete")
    message: dict[str, Any] = {name: _joined(found) for name, found in pieces.items()} | last
    if calls:
        message["tool_calls"] = calls
    return {**made, "choices": [{"message": message, "finish_reason": finish}]}


def _repeats(choice: dict[str, Any], pieces: dict[str, list[Any]]) -> bool:
    """Whether a choice's `message` is the whole answer once more, behind its pieces."""
    message = choice.get("message")
    whole = message.get("content") if isinstance(message, dict) else None
    return isinstance(whole, str) and len(pieces["content"]) > 0 and _joined(pieces["content"]) == whole


PIECED = frozenset({"content", "reasoning_content", "reasoning", "refusal"})


def _add_delta(
    pieces: dict[str, list[Any]], calls: list[dict[str, Any]], last: dict[str, Any], *, delta: dict[str, Any]
) -> None:
    """Add a delta: texts come in pieces, other fields whole."""
    for name, piece in delta.items():
        if piece is None or name == "role":
            continue
        if name in PIECED:
            pieces.setdefault(name, []).append(piece)
        elif name == "tool_calls":
            beside = len(calls)
            for call in piece if isinstance(piece, list) else (piece,):
                _add_call(calls, call, beside)
        elif name == "function_call":
            _add_call(calls, {"function": piece}, len(calls))
        elif isinstance(piece, list) and isinstance(last.get(name), list):
            last[name] = last[name] + piece
        else:
            last[name] = piece


def _joined(pieces: list[Any]) -> Any:
    if all(type(piece) is str for piece in pieces):
        return "".join(pieces)
    parts: list[Any] = []
    for piece in pieces:
        parts.extend(piece if isinstance(piece, list) else (piece,))
    return parts


def _add_call(calls: list[dict[str, Any]], piece: Any, beside: int) -> None:
    """A piece of a tool call: its id and name come once, its arguments in pieces. `beside` calls were known before the
    delta that it came with: two calls of one delta that nothing tells apart are two.
    """
    function = piece.get("function") if isinstance(piece, dict) else piece
    if not isinstance(piece, dict) or not isinstance(function, (dict, type(None))):
        # A call without a name, which `decode` refuses.
        calls.append(_new_call(None, None))
        return
    fields = function or {}
    call_id, name, index = word(piece.get("id")), word(fields.get("name")), word(piece.get("index"))
    call = _call_of(calls, call_id, name, index=index)
    more = fields.get("arguments")
    if call is not None and name is not None and name == call["function"]["name"] and _is_whole(call):
        if call_id is not None and more == call["function"]["arguments"]:
            # Told once more.
            return
        if call_id is None and more:
            call = None
    if call is not None and call_id is None and index is None and name is not None and call in calls[beside:]:
        call = None
    if call is None:
        call = _new_call(call_id, index)
        calls.append(call)
    made = call["function"]
    if name and name != made["name"]:
        made["name"] += name
    before = made["arguments"]
    if isinstance(more, str) and isinstance(before, str):
        made["arguments"] += more
    elif before and more not in (None, "", before):
        # Neither holds all of it: together they are no JSON, which `decode` refuses.
        made["arguments"] = f"{before} and {more}"
    elif more is not None:
        made["arguments"] = more


def _new_call(call_id: str | None, index: str | None) -> dict[str, Any]:
    return {"id": call_id, "index": index, "function": {"name": "", "arguments": None}}


def _call_of(
    calls: list[dict[str, Any]], call_id: str | None, name: str | None, *, index: str | None
) -> dict[str, Any] | None:
    """The call that a piece goes on with; None where it begins another.

    Servers give each call an index, as documented; or all of them the same or none: then another id with a name, or
    another name where one is known, begins another call.
    """
    if call_id is not None:
        for call in calls:
            if call["id"] == call_id and (index is None or call["index"] in (index, None)):
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


def _is_whole(call: dict[str, Any]) -> bool:
    """Whether the arguments of a call are all there."""
    made = call["function"]["arguments"]
    try:
        return made is not None and arguments(made) != "{}"
    except Broken:
        return False


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


def usage(counts: Any) -> Usage | None:
    """Usage as this protocol reports it; None where it is missing, or counts what cannot be counted."""
    if not isinstance(counts, dict):
        return None
    details, prompt_details = counts.get("completion_tokens_details"), counts.get("prompt_tokens_details")
    total = counts.get("total_tokens")
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if prompt is None or (completion is None and total is None):
        return None
    try:
        return split_usage(
            count(prompt),
            count(completion),
            count(details.get("reasoning_tokens")) if isinstance(details, dict) else 0,
            total=None if total is None else count(total),
            inside=True,
            cached=count(prompt_details.get("cached_tokens")) if isinstance(prompt_details, dict) else 0,
        )
    except NoCount:
        return None
