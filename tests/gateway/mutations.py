"""Mutations of recorded bodies: each field with another type, removed, or nested differently."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rowmill.sandbox import chat_completions as sandbox_chat
from rowmill.sandbox import generate_content as sandbox_generate
from rowmill.sandbox.prompt import Prompt
from rowmill.sandbox.reply import Reply
from tests.gateway.wire_server import wire_cases

ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 7, 1.5, -0.0, 1e300, 10**30, 2**63, "", "x", "NaN", "12", "\ud83d", [], {}, [[]], [None],
    {"text": "x"}, [{"type": "text", "text": 5}], ["x"], {"type": "thinking", "thinking": []}, 1e999,
]  # fmt: skip


def mutations(value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Each place in a JSON value with the value as it is with that place changed, removed, or nested differently."""
    for path in places(value):
        for odd in ODD_VALUES:
            yield path, changed(value, path, lambda _, odd=odd: odd)
        yield path, changed(value, path, lambda old: [old])
        yield path, changed(value, path, lambda old: {"value": old})
        if path:
            yield path, removed(value, path)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def changed(value: Any, path: tuple[Any, ...], change: Any) -> Any:
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], change)
    return copy


def removed(value: Any, path: tuple[Any, ...]) -> Any:
    if len(path) > 1:
        return changed(value, path[:1], lambda child: removed(child, path[1:]))
    copy = dict(value) if isinstance(value, dict) else list(value)
    del copy[path[0]]
    return copy


def recorded() -> Iterator[tuple[str, str, int, Any]]:
    """Name, protocol, status and JSON of each recorded body; of a stream, the list of its events."""
    for case in wire_cases().values():
        for number, response in enumerate(case["responses"]):
            name = f"{case['name']}-{number}"
            if "body_json" in response:
                yield name, case["protocol"], response["status"], response["body_json"]
            elif events := list(events_of(response["body"])):
                yield name, case["protocol"], response["status"], events
    reply = Reply("It is late.", "a thought", 80, 12, 30, call=("weather", {"city": "Oslo"}), grounding={"x": [1]})
    prompt = Prompt("gemini-3-pro", "t", "t", "t", 1)
    chat = {"beside": False, "with_usage": True}
    yield "chat", "chat-completions", 200, sandbox_chat.answer(reply, prompt, "1", **chat)
    yield (
        "chat-stream",
        "chat-completions",
        200,
        list(events_of("".join(sandbox_chat.stream(reply, prompt, "1", **chat)))),
    )
    yield "generate", "generate-content", 200, sandbox_generate.answer(reply, prompt, with_usage=True)
    chunks = list(sandbox_generate.chunks(reply, prompt, with_usage=True))
    yield "generate-stream", "generate-content", 200, chunks


def events_of(body: str) -> Iterator[Any]:
    for line in body.splitlines():
        if line.startswith("data:") and line[5:].strip() != "[DONE]":
            yield json.loads(line[5:])


def as_bytes(value: Any, *, stream: bool) -> bytes:
    if stream and isinstance(value, list):
        return "".join(f"data: {json.dumps(event)}\n\n" for event in value).encode() + b"data: [DONE]\n\n"
    return json.dumps(value).encode()
