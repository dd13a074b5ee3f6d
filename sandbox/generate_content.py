"""generateContent as the sandbox reads and answers it. Source: the gateway's page 'Gemini 3 Flash'."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from rowmill.sandbox.chat_completions import answers, pieces
from rowmill.sandbox.prompt import BadRequest, Function, Medium, Prompt
from rowmill.sandbox.reply import Reply
from rowmill.schemas.media_form import form_of
from rowmill.schemas.media_tokens import form_at, resolution_of

MODEL = "gemini-3-flash"
FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "blocked": "SAFETY"}


def read(body: Any, model: str, *, stream: bool) -> Prompt:
    """A request body → prompt. Raises BadRequest for what the page does not allow."""
    if not isinstance(body, dict) or not isinstance(body.get("contents"), list) or not body["contents"]:
        raise BadRequest("'contents' is required.")
    functions, search = _tools(body.get("tools"))
    config = _either(body, "generationConfig") or {}
    thinking = _either(config, "thinkingConfig") or {}
    effort = str(_either(thinking, "thinkingLevel") or "high").lower()
    if effort not in ("low", "high"):
        raise BadRequest("'thinkingLevel' must be low or high.")
    limit = _either(config, "maxOutputTokens")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise BadRequest("'maxOutputTokens' must be a positive integer.")
    schema = _either(config, "responseJsonSchema") or _either(config, "responseSchema")
    system = _either(body, "systemInstruction")
    resolution = resolution_of(_either(config, "mediaResolution"))
    contents = [_content(content, resolution) for content in body["contents"]]
    texts = [text for _, text, _, _ in contents]
    users = [text for role, text, _, _ in contents if role == "user"] or texts
    return Prompt(
        model=model,
        text="\n".join([*([_system(system)] if system else []), *texts]),
        first=users[0],
        last=users[-1],
        turns=len(contents) + bool(system),
        media=tuple(one for _, _, media, _ in contents for one in media),
        schema=schema,
        functions=functions,
        search=search,
        answered_function=contents[-1][3],
        effort=effort,
        include_thoughts=_either(thinking, "includeThoughts") is True,
        max_tokens=limit,
        stream=stream,
        answers=answers(_either(config, "candidateCount"), "candidateCount"),
        joint="\n",
    )


def _either(told: dict[str, Any], name: str) -> Any:
    """A field by its name, or by the same in snake case: Google's protocol reads both, and its package sends both."""
    return told.get(name, told.get(re.sub("([A-Z])", r"_\1", name).lower()))


def _system(told: Any) -> str:
    return told if isinstance(told, str) else "\n".join(str(part.get("text", "")) for part in told.get("parts", []))


def _content(content: Any, resolution: str | None) -> tuple[str, str, list[Medium], bool]:
    """Role, text, media at the body's resolution or their own, and whether it answers a function call."""
    if not isinstance(content, dict) or not isinstance(content.get("parts"), list) or not content["parts"]:
        raise BadRequest("Each content needs parts.")
    role = content.get("role", "user")
    if role not in ("user", "model", "function"):
        raise BadRequest("'role' must be user or model.")
    texts: list[str] = []
    media: list[Medium] = []
    answers = False
    for part in content["parts"]:
        if not isinstance(part, dict):
            raise BadRequest("Each part must be an object.")
        inline = part.get("inline_data") or part.get("inlineData")
        if "text" in part:
            texts.append(str(part["text"]))
        elif inline is not None:
            if not (inline.get("mime_type") or inline.get("mimeType")) or not inline.get("data"):
                raise BadRequest("'inline_data' needs 'mime_type' and 'data'.")
            form = form_of(inline.get("mime_type") or inline.get("mimeType"), str(inline["data"]))
            media.append(Medium(form, resolution_of(_either(part, "mediaResolution")) or resolution))
        elif (file := part.get("file_data") or part.get("fileData")) is not None:
            form = form_at(str(_either(file, "fileUri")), _either(file, "mimeType"))
            media.append(Medium(form, resolution_of(_either(part, "mediaResolution")) or resolution))
        elif part.get("functionCall") or part.get("functionResponse"):
            answers = bool(part.get("functionResponse"))
            texts.append(json.dumps(part))
        else:
            raise BadRequest("A part must hold text, inline_data, functionCall or functionResponse.")
    return role, "\n".join(texts), media, answers


def _tools(tools: Any) -> tuple[tuple[Function, ...], bool]:
    functions = []
    search = False
    for tool in tools or []:
        if not isinstance(tool, dict):
            raise BadRequest("Each tool must be an object.")
        search = search or _either(tool, "googleSearch") is not None
        for declared in _either(tool, "functionDeclarations") or []:
            parameters = declared.get("parameters") or _either(declared, "parametersJsonSchema")
            functions.append(Function(declared.get("name", ""), parameters))
    if search and functions:
        raise BadRequest("googleSearch and functionDeclarations cannot be used together.")
    return tuple(functions), search


def usage(reply: Reply) -> dict[str, int]:
    """Thoughts stand beside the candidates, as in the page's example."""
    told = {"promptTokenCount": reply.input}
    if not reply.blocked_prompt:
        told |= {"candidatesTokenCount": reply.output, "thoughtsTokenCount": reply.reasoning}
    return {**told, "totalTokenCount": reply.input + reply.output + reply.reasoning}


def answer(reply: Reply, prompt: Prompt, *, with_usage: bool) -> dict[str, Any]:
    """The whole answer as one JSON object."""
    parts: list[dict[str, Any]] = [{"text": reply.thoughts, "thought": True}] if reply.thoughts else []
    if reply.call:
        parts.append({"functionCall": {"name": reply.call[0], "args": reply.call[1]}})
    elif reply.text or not parts:
        parts.append({"text": reply.text})
    return _form(reply, prompt, parts, last=True, with_usage=with_usage)


def _form(reply: Reply, prompt: Prompt, parts: list[dict[str, Any]], *, last: bool, with_usage: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"modelVersion": prompt.model}
    if reply.blocked_prompt:
        made["promptFeedback"] = {"blockReason": "PROHIBITED_CONTENT"}
    else:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        if last:
            candidate["finishReason"] = FINISH[reply.finish]
            if reply.grounding:
                candidate["groundingMetadata"] = reply.grounding
        made = {"candidates": [candidate], **made}
    return {**made, "usageMetadata": usage(reply)} if last and with_usage else made


def chunks(reply: Reply, prompt: Prompt, *, with_usage: bool) -> Iterator[dict[str, Any]]:
    """The same answer in parts; usage with the last."""
    if reply.call is None and not reply.blocked_prompt:
        for piece in pieces(reply.thoughts):
            yield _form(reply, prompt, [{"text": piece, "thought": True}], last=False, with_usage=False)
        *early, final = list(pieces(reply.text)) or [""]
        for piece in early:
            yield _form(reply, prompt, [{"text": piece}], last=False, with_usage=False)
        yield _form(reply, prompt, [{"text": final}], last=True, with_usage=with_usage)
    else:
        yield answer(reply, prompt, with_usage=with_usage)


def stream(reply: Reply, prompt: Prompt, *, with_usage: bool) -> Iterator[str]:
    """Server-sent events. "streamGenerateContent returns SSE chunks": with `alt=sse` as without."""
    for part in chunks(reply, prompt, with_usage=with_usage):
        yield f"data: {json.dumps(part, ensure_ascii=False)}\r\n\r\n"
