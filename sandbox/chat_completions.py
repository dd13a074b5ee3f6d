"""Chat completions as the sandbox reads and answers them. Source: the gateway's page 'Gemini 3 Pro'."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rowmill.sandbox.faults import ErrorForm
from rowmill.sandbox.prompt import BadRequest, Function, Medium, Prompt
from rowmill.sandbox.reply import Reply
from rowmill.schemas.media_form import MediaForm, form_of
from rowmill.schemas.media_tokens import form_at

MODEL = "gemini-3-pro"
SEARCH = "googleSearch"
CHUNK_CHARS = 24
CREATED = 1_677_652_288


def read(body: Any) -> Prompt:
    """A request body → prompt. Raises BadRequest for what the page does not allow."""
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    if not isinstance(body.get("model"), str):
        raise BadRequest("'model' is required.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' is required.")
    functions, search = _tools(body.get("tools"))
    schema = _schema(body.get("response_format"))
    if schema is not None and body.get("tools"):
        raise BadRequest("'tools' and 'response_format' are mutually exclusive.")
    effort = body.get("reasoning_effort", "high")
    if effort not in ("low", "high"):
        raise BadRequest("'reasoning_effort' must be low or high.")
    texts, media = zip(*(_message(message) for message in messages), strict=True)
    users = [text for text, message in zip(texts, messages, strict=True) if message["role"] == "user"]
    # A field that is null is as one that is not there.
    limit = next((body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None), None)
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise BadRequest("'max_tokens' must be a positive integer.")
    return Prompt(
        model=body["model"],
        text="\n".join(texts),
        first=users[0] if users else texts[0],
        last=users[-1] if users else texts[-1],
        turns=len(messages),
        media=tuple(one for some in media for one in some),
        schema=schema,
        functions=functions,
        search=search,
        answered_function=messages[-1]["role"] == "tool",
        effort=effort,
        include_thoughts=body.get("include_thoughts", True) is not False,
        max_tokens=limit,
        stream=body.get("stream", True) is not False,
        answers=answers(body.get("n"), "n"),
    )


def answers(count: Any, name: str) -> int:
    """How many answers a request asks for. Raises BadRequest."""
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise BadRequest(f"'{name}' must be a positive integer.")
    return count or 1


def _message(message: Any) -> tuple[str, list[Medium]]:
    if not isinstance(message, dict) or message.get("role") not in (
        "system", "developer", "user", "assistant", "tool",
    ):  # fmt: skip
        raise BadRequest("Each message needs a role.")
    content = message.get("content")
    if isinstance(content, str):
        return content, []
    if content is None and message.get("tool_calls"):
        return json.dumps(message["tool_calls"]), []
    if not isinstance(content, list) or not content:
        raise BadRequest("Each message needs content.")
    texts, media = [], []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(str(part.get("text", "")))
        elif kind == "image_url" and _is_url((part.get("image_url") or {}).get("url")):
            media.append(Medium(_form(part["image_url"]["url"])))
        else:
            raise BadRequest(f"Unknown content part: {kind!r}.")
    return "\n".join(texts), media


def _form(url: str) -> MediaForm:
    head, comma, content = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        return form_of(head[5:-7], content)
    return form_at(url, None)


def _is_url(url: Any) -> bool:
    return isinstance(url, str) and url.startswith(("https://", "http://", "data:"))


def _tools(tools: Any) -> tuple[tuple[Function, ...], bool]:
    functions = []
    search = False
    for tool in tools or []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRequest("Each tool needs a function with a name.")
        if function["name"] == SEARCH:
            search = True
        else:
            functions.append(Function(function["name"], function.get("parameters")))
    if search and functions:
        raise BadRequest("Google Search and function calling are mutually exclusive.")
    return tuple(functions), search


def _schema(form: Any) -> Any:
    if form is None or (isinstance(form, dict) and form.get("type") == "text"):
        return None
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema")
        if isinstance(schema, dict):
            return schema
        raise BadRequest("'response_format.json_schema.schema' is required.")
    if isinstance(form, dict) and form.get("type") == "json_object":
        return {"type": "object"}
    raise BadRequest("'response_format.type' must be json_schema.")


def usage(reply: Reply, *, beside: bool) -> dict[str, Any]:
    """Reasoning stands inside completion_tokens, or beside it where the settings ask for that."""
    completion = reply.output + (0 if beside else reply.reasoning)
    total = reply.input + reply.output + reply.reasoning
    return {
        "prompt_tokens": reply.input,
        "completion_tokens": completion,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": reply.reasoning},
    }


def answer(reply: Reply, prompt: Prompt, call_id: str, *, beside: bool, with_usage: bool) -> dict[str, Any]:
    """The whole answer as one JSON object."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None if reply.call else reply.text}
    if reply.thoughts:
        message["reasoning_content"] = reply.thoughts
    if reply.call:
        message["tool_calls"] = [_call(reply, call_id)]
    if reply.grounding:
        message["grounding_metadata"] = reply.grounding
    made = {
        "id": f"chatcmpl-{call_id}",
        "object": "chat.completion",
        "created": CREATED,
        "model": prompt.model,
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(reply)}],
    }
    return {**made, "usage": usage(reply, beside=beside)} if with_usage else made


def _call(reply: Reply, call_id: str) -> dict[str, Any]:
    assert reply.call is not None
    name, arguments = reply.call
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": f"call_{call_id}", "type": "function", "function": function}


def _finish(reply: Reply) -> str:
    if reply.call:
        return "tool_calls"
    return "content_filter" if reply.finish == "blocked" else reply.finish


def stream(reply: Reply, prompt: Prompt, call_id: str, *, beside: bool, with_usage: bool) -> Iterator[str]:
    """The same answer as server-sent events; usage in the last chunk before [DONE]."""
    head = {"id": f"chatcmpl-{call_id}", "object": "chat.completion.chunk", "created": CREATED, "model": prompt.model}

    def event(delta: dict[str, Any], finish: str | None = None) -> str:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return f"data: {json.dumps({**head, 'choices': choices}, ensure_ascii=False)}\n\n"

    yield event({"role": "assistant", "content": ""})
    yield ": a comment, as some gateways send to keep the line open\n\n"
    for piece in pieces(reply.thoughts):
        yield event({"reasoning_content": piece})
    for piece in pieces(reply.text):
        yield event({"content": piece})
    if reply.call:
        yield event({"tool_calls": [{"index": 0, **_call(reply, call_id)}]})
    if reply.grounding:
        yield event({"grounding_metadata": reply.grounding})
    yield event({}, _finish(reply))
    if with_usage:
        last = {**head, "choices": [], "usage": usage(reply, beside=beside)}
        yield f"data: {json.dumps(last)}\n\n"
    yield "data: [DONE]\n\n"


def pieces(text: str) -> Iterator[str]:
    for at in range(0, len(text), CHUNK_CHARS):
        yield text[at : at + CHUNK_CHARS]


def error(form: ErrorForm) -> dict[str, Any]:
    """The error body that both pages document."""
    return {"error": {"code": form.code, "message": form.message, "type": form.type}}
