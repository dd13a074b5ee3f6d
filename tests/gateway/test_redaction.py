"""The key in an answer: whatever its form, no text that is kept or shown holds it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowmill.schemas.attempt import Answer, Failure, FailureKind, ToolCall
from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.tasks.gateway.client import Exchange
from rowmill.tasks.gateway.redaction import BACKSLASHES_MOST, SECRET_LEAST, Redactor
from tests.gateway.large_bodies import client_of
from tests.gateway.raw_server import Server, answer, saying

KEY_CHARS = "".join(map(chr, range(0x21, 0x7F)))
keys = st.text(KEY_CHARS, min_size=SECRET_LEAST, max_size=60) | st.sampled_from(
    ["sk-1", "****", "redacted", "key]", 'a"b\\c/d', "u0061u0061", "aaaa", "\\\\\\\\", "[key redacted]", "###*"]
)


@st.composite
def keys_in_texts(draw) -> tuple[str, str]:
    """A key, and a text that holds it in one of its forms, or nearly."""
    key = draw(keys)
    pieces = st.one_of(
        st.text(max_size=8), st.just(key), st.just(key[: len(key) // 2]), st.just(key[len(key) // 2 :]),
        st.just(json.dumps(key)), st.just("".join(escaped(draw, char) for char in key)),
        st.just(json.dumps(json.dumps("".join(escaped(draw, char) for char in key)))),
    )  # fmt: skip
    return key, "".join(draw(st.lists(pieces, max_size=6)))


def escaped(draw, char: str) -> str:
    """A character as a JSON text may hold it."""
    forms = [f"\\u{ord(char):04x}", f"\\u{ord(char):04X}"]
    forms += [f"\\{char}"] if char in '"\\/' else []
    forms += [char] if char not in '"\\' else []
    return draw(st.sampled_from(forms))


def texts_of(value: Any) -> list[str]:
    """Every text in a value, and every text in the JSON that such a text holds."""
    if isinstance(value, str):
        try:
            inner = decode_json(value)
        except JsonTextError:
            return [value]
        return [value, *(texts_of(inner) if inner != value else [])]
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in texts_of(one)]
    if isinstance(value, (list, tuple)):
        return [text for one in value for text in texts_of(one)]
    return []


@given(keys_in_texts())
@example(("sk-1", '"' + "\\u0073\\u006b\\u002d\\u0031" + '"'))
@example(("****", "**********"))
def test_no_text_holds_the_key_in_any_form(case):
    """Neither a redacted text nor anything that can be parsed out of it holds the key."""
    key, text = case
    assert [one for one in texts_of(Redactor(key).text(text)) if key in one] == []


@given(keys_in_texts(), st.data())
def test_no_value_of_an_answer_or_a_failure_holds_the_key(case, data):
    """Wherever in an answer or a failure the key stands, it is taken out; what is told of cost and kind stays."""
    key, text = case
    texts = st.sampled_from([text, key, "plain"])
    draw = data.draw
    found = Answer(
        draw(texts), None, draw(texts), draw(texts), draw(texts), blocked=draw(texts), grounding=draw(texts),
        tool_calls=tuple(ToolCall(draw(texts), draw(texts), draw(texts)) for _ in range(draw(st.integers(0, 2)))),
    )  # fmt: skip
    redactor = Redactor(key)
    for one in (redactor.value(found), redactor.failure(Failure(FailureKind.TIMEOUT, draw(texts), 3.0))):
        values = [value for name, value in msgspec.to_builtins(one).items() if name != "kind"]
        assert [text for text in texts_of(values) if key in text] == []


@given(st.text(max_size=200))
def test_a_text_without_the_key_is_left_as_it_is(text):
    """Redaction changes nothing else."""
    assert Redactor("sk-\x00not-in-any-text").text(text) is text


def test_an_answer_without_the_key_is_the_same_object():
    """The usual answer is not built anew."""
    found = Answer("text", None, "stop", tool_calls=(ToolCall("f", "{}"),))
    assert Redactor("sk-0123").value(found) is found


@pytest.mark.parametrize("key", ["", "x", "sk"])
def test_what_is_no_secret_is_not_looked_for(key):
    """A key of a letter or two is a placeholder; taking it out would spoil every answer."""
    assert Redactor(key).text("sk is x") == "sk is x"


@given(keys.filter(lambda key: len(key) > 8), st.integers(SECRET_LEAST, 59))
def test_a_key_that_was_cut_is_taken_out_of_a_failure(key, length):
    """A message cut in the middle of the key does not show the half that is left."""
    half = key[: min(length, len(key) - 1)]
    message = Redactor(key).failure(Failure(FailureKind.TIMEOUT, f"words {half}")).message
    assert not message.endswith(half)


def test_a_wall_of_backslashes_takes_no_time():
    """The work is linear in the text, whatever stands in it."""
    assert len(Redactor("sk-0123456789").text("\\" * 400_000 + "\\u")) > 400_000
    assert BACKSLASHES_MOST < 32


KEY = 'sk-7/q"Z'
ESCAPED = "".join(f"\\u{ord(char):04x}" for char in KEY)


def chat(content: Any, **message: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": "stop"}], "usage": usage}


def streamed(*deltas: dict[str, Any]) -> bytes:
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("stream", "status", "body"),
    [
        (False, b"200 OK", json.dumps(chat(f"it is {KEY}")).encode()),
        (False, b"200 OK", json.dumps(chat("it is ~")).replace("~", ESCAPED).encode()),
        (False, b"200 OK", json.dumps(chat(json.dumps({"a": "~"}))).replace("~", ESCAPED).encode()),
        (False, b"200 OK", json.dumps(chat(json.dumps({"a": "~"}))).replace("~", ESCAPED.replace("\\", "\\\\")).encode()),
        (False, b"200 OK", json.dumps(chat([{"type": "text", "text": KEY[:4]}, {"type": "text", "text": KEY[4:]}])).encode()),
        (False, b"200 OK", json.dumps(chat("", reasoning=KEY, tool_calls=[{"id": KEY, "function": {"name": KEY, "arguments": json.dumps({KEY: KEY})}}])).encode()),
        (False, b"200 OK", json.dumps(chat("x", annotations=[{"url": f"https://x/?k={KEY}"}])).encode()),
        (False, b"200 OK", json.dumps({**chat("x"), "model": KEY}).encode()),
        (False, b"200 OK", f"no JSON: {KEY}".encode()),
        (False, b"400 Bad", json.dumps({"error": {"message": f"bad key {KEY}", "code": KEY}}).encode()),
        (False, b"400 Bad", json.dumps({"error": {"message": "x" * 996 + KEY}}).encode()),
        (False, b"500 Bad", b"x" * 195 + KEY.encode()),
        (True, b"200 OK", streamed({"content": "it is "}, {"content": KEY[:3]}, {"content": KEY[3:]})),
        (True, b"200 OK", streamed(*({"content": char} for char in json.dumps({"a": KEY})))),
        (True, b"200 OK", streamed({"tool_calls": [{"index": 0, "function": {"name": KEY[:2], "arguments": KEY[:2]}}]}, {"tool_calls": [{"index": 0, "function": {"name": KEY[2:], "arguments": KEY[2:]}}]})),
        (True, b"200 OK", b"data: %s\n\n" % json.dumps({"error": {"message": KEY}}).encode()),
    ],
)  # fmt: skip
def test_an_answer_that_echoes_the_key_is_kept_without_it(stream, status, body):
    """Through the client: in a text, escaped, in a text within a text, in parts and in pieces, in an error."""

    async def scenario() -> Exchange:
        async with Server(saying(answer(body, status=status))) as server:
            client = client_of(server.base_url, api_key=KEY, stream=stream, timeout_s=5.0)
            exchange = await client.send(b"{}")
            await client.aclose()
            return exchange

    exchange = asyncio.run(scenario())
    texts = texts_of(msgspec.to_builtins(exchange))
    assert [text for text in texts if KEY in text] == []
    if status != b"200 OK":
        assert exchange.failure is not None
        assert not exchange.failure.message.endswith((KEY[:4], KEY[:5], KEY[:6], KEY[:7]))
