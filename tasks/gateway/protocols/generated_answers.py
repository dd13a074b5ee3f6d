"""Generated answers: a 200 of generateContent, whole or in chunks → an answer, no I/O. Total over its fields' types."""

from __future__ import annotations

from typing import Any

from rowmill.schemas.attempt import Answer, ToolCall
from rowmill.schemas.usage import Usage, split_usage
from rowmill.tasks.gateway.protocols.event_stream import ErrorInAnswer, StreamCut, no_answer
from rowmill.tasks.gateway.protocols.fields import (
    Broken,
    NoCount,
    Unreadable,
    arguments,
    count,
    first_of,
    flag,
    is_first,
    side_text,
    thoughts,
    word,
)
from rowmill.tasks.gateway.protocols.finish import Ending, ending


def decode(payload: Any) -> Answer:
    """A 200's JSON → answer. Raises Unreadable where it holds neither an answer nor a bill, ErrorInAnswer."""
    if not isinstance(payload, dict):
        raise Unreadable("the answer is no JSON object")
    bill, model = usage(payload.get("usageMetadata")), word(payload.get("modelVersion"))
    if reason := _block_reason(payload):
        return Answer("", bill, finish_reason=reason, model=model, blocked=reason)
    candidates = payload.get("candidates")
    if not candidates:
        if bill is None:
            raise no_answer(payload, "`candidates`")
        return Answer("", bill, model=model)
    candidate = first_of(candidates) or {}
    if not candidate and bill is None:
        raise no_answer(payload, "`candidates`")
    if candidate.get("error"):
        raise ErrorInAnswer(candidate)
    finish = word(candidate.get("finishReason"))
    ended = ending(finish)
    text, thought, broken = "", "", None
    calls: tuple[ToolCall, ...] = ()
    try:
        text, thought, calls = _parts(candidate)
    except Broken as error:
        if bill is None:
            raise Unreadable(f"no answer in it: {error}") from None
        broken = str(error)
    if ended is Ending.BROKEN:
        broken = f"the finish reason is {finish!r}"
    grounding = candidate.get("groundingMetadata")
    return Answer(
        text=text,
        usage=bill,
        finish_reason=finish,
        model=model,
        thoughts=thought or None,
        cut=ended is Ending.CUT,
        blocked=finish if ended is Ending.BLOCKED else None,
        broken=broken,
        unfinished=ended is Ending.NOT_SAID,
        tool_calls=calls,
        grounding=side_text(grounding),
    )


NOT_BLOCKED = frozenset({"BLOCK_REASON_UNSPECIFIED", "0"})


def _block_reason(payload: dict[str, Any]) -> str | None:
    """Why the prompt was blocked, whatever stands beside it."""
    feedback = payload.get("promptFeedback")
    reason = word(feedback.get("blockReason")) if isinstance(feedback, dict) else None
    return None if reason in NOT_BLOCKED else reason


def _parts(candidate: dict[str, Any]) -> tuple[str, str, tuple[ToolCall, ...]]:
    """Text, thoughts and tool calls of a candidate. Raises Broken."""
    content = candidate.get("content")
    if content is None:
        return "", "", ()
    parts = content.get("parts") if isinstance(content, dict) else content
    if parts is None:
        return "", "", ()
    if isinstance(parts, (str, dict)):
        parts = [parts]
    if not isinstance(parts, list):
        raise Broken("`parts` is no list")
    texts: list[str] = []
    thought: list[str] = []
    calls: list[ToolCall] = []
    for part in parts:
        if isinstance(part, dict):
            if flag(part.get("thought")):
                thought.append(thoughts(part.get("text")))
            elif call := part.get("functionCall"):
                calls.append(_tool_call(call))
            else:
                texts.append(_text(part.get("text")))
        elif part is not None:
            texts.append(_text(part))
    return "".join(texts), "".join(thought), tuple(calls)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Broken("the text of a part is none")
    return value


def assemble(events: list[Any], *, ended: bool) -> Any:
    """Chunks of a stream → the answer as it would have come whole. Raises StreamCut where its end is missing.

    [DONE] and the array's closing bracket end a stream here too, but only a finish reason ends an answer.
    """
    made: dict[str, Any] = {}
    candidate: dict[str, Any] = {}
    parts: list[Any] = []
    for chunk in events:
        if not isinstance(chunk, dict):
            raise Unreadable("no JSON object in an event of the stream")
        made |= {key: chunk[key] for key in ("modelVersion", "usageMetadata", "promptFeedback") if chunk.get(key)}
        found = _first_candidate(chunk)
        if found is None:
            continue
        candidate |= {key: found[key] for key in ("finishReason", "groundingMetadata", "error") if found.get(key)}
        content = found.get("content")
        more = content.get("parts") if isinstance(content, dict) else content
        if isinstance(more, list):
            parts.extend(more)
        elif isinstance(more, (str, dict)):
            parts.append(more)
        elif more is not None:
            parts.append({"text": {"unknown": more}})
    if _block_reason(made) or (not candidate and not parts and "usageMetadata" in made):
        return made
    if word(candidate.get("finishReason")) is None and "error" not in candidate:
        raise StreamCut("the stream ended before the answer was complete")
    return {**made, "candidates": [{**candidate, "content": {"parts": parts}}]}


def _first_candidate(chunk: dict[str, Any]) -> dict[str, Any] | None:
    """What a chunk adds to the first of the candidates, which is the answer."""
    candidates = chunk.get("candidates")
    for found in candidates if isinstance(candidates, list) else ():
        if isinstance(found, dict) and is_first(found.get("index")):
            return found
    return None


def _tool_call(call: Any) -> ToolCall:
    name = word(call.get("name")) if isinstance(call, dict) else None
    if name is None:
        raise Broken("a function call has no name")
    return ToolCall(name, arguments(call.get("args")), word(call.get("id")))


def usage(counts: Any) -> Usage | None:
    """Usage as this protocol reports it; None where it is missing, or counts what cannot be counted.

    A search's own prompt tokens are input too; a blocked prompt has no candidate tokens.
    """
    if not isinstance(counts, dict) or counts.get("promptTokenCount") is None:
        return None
    total = counts.get("totalTokenCount")
    try:
        return split_usage(
            count(counts["promptTokenCount"]) + count(counts.get("toolUsePromptTokenCount")),
            count(counts.get("candidatesTokenCount")),
            count(counts.get("thoughtsTokenCount")),
            total=None if total is None else count(total),
            inside=False,
            cached=count(counts.get("cachedContentTokenCount")),
        )
    except NoCount:
        return None
