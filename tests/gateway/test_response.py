"""Any bytes under any status are an answer or a failure, and nothing of them is stored that cannot be read again."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.attempt import Answer, Failure, Spent
from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.outcome import Outcome, Status
from rowmill.tasks.gateway.failures import FAILURE_POLICIES
from rowmill.tasks.gateway.response import read_response
from rowmill.tasks.journal.segment import decode_line, encode_line
from tests.gateway.mutations import as_bytes, mutations, recorded

MODELS = {model.protocol: model for model in builtin_catalogue().values()}
INT64_MOST = 2**63 - 1


def checked(status: int, content: bytes, protocol: str) -> Answer | Failure:
    """The response's meaning, which can be written to a journal and read back as it was."""
    found = read_response(status, {}, content, model=MODELS[protocol], wall=0.0)
    stored = stored_as(found, protocol)
    assert decode_line(encode_line(stored)[:-1]) == stored
    return found


def stored_as(found: Answer | Failure, protocol: str) -> Outcome:
    """An outcome that holds all that is kept of a response."""
    if isinstance(found, Failure):
        assert found.kind in FAILURE_POLICIES
        return Outcome("r", 0, Status.FAILED, error_kind=found.kind.value, error_message=found.message)
    model, usage = MODELS[protocol], found.usage
    counts = (usage.input, usage.output, usage.thoughts) if usage else (0, 0, 0)
    assert all(type(count) is int and 0 <= count <= INT64_MOST for count in counts)
    assert usage is None or usage.total <= model.context_window + model.max_output_tokens
    assert model.price is not None
    for call in found.tool_calls:
        json.loads(call.arguments)
    return Outcome(
        "r", 0, Status.OK, output_text=found.text, response_text=found.text, finish_reason=found.finish_reason,
        model=found.model, thoughts=found.thoughts, grounding=found.grounding, tool_calls=found.tool_calls,
        spent=Spent(1, usage, model.price.of(usage)) if usage else Spent(1), error_message=found.broken,
        error_kind=found.blocked,
    )  # fmt: skip


def is_whole(found: Answer | Failure) -> bool:
    return isinstance(found, Answer) and not (found.broken or found.cut or found.blocked or found.unfinished)


RECORDED = list(recorded())


@pytest.mark.parametrize(("name", "protocol", "status", "value"), RECORDED, ids=[name for name, *_ in RECORDED])
def test_a_recorded_body_with_one_field_changed_is_decided(name, protocol, status, value):
    """Each field of each recorded body, with another type, removed or nested: decided, and stored as it can be read."""
    stream = isinstance(value, list)
    whole = checked(status, as_bytes(value, stream=stream), protocol)
    mutated = list(mutations(value))
    for path, odd in random.Random(name).sample(mutated, min(len(mutated), 600)):
        for code in (status, 200):
            found = checked(code, as_bytes(odd, stream=stream), protocol)
            if code == status and is_whole(found) and is_whole(whole):
                assert found.text == whole.text or may_hold_text(path), (path, found)


def may_hold_text(path: tuple[Any, ...]) -> bool:
    """Whether a change there may change what the answer says: it is its text, or holds or marks it."""
    keys = [key for key in path if isinstance(key, str)]
    return not keys or keys[-1] in {
        "choices", "message", "delta", "content", "text", "type", "candidates", "parts", "thought", "index", "functionCall",
        "tool_calls",
    }  # fmt: skip


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([
            "choices", "message", "content", "delta", "finish_reason", "usage", "prompt_tokens", "completion_tokens",
            "total_tokens", "tool_calls", "function", "name", "arguments", "id", "index", "error", "code", "type", "model",
            "candidates", "parts", "text", "thought", "finishReason", "usageMetadata", "promptTokenCount", "functionCall",
            "args", "totalTokenCount", "promptFeedback", "blockReason", "details", "reason", "status", "detail", "errors",
            "retryDelay", "refusal", "reasoning", "groundingMetadata", "choices",
        ]), inner, max_size=4),
    max_leaves=24,
)  # fmt: skip


@given(json_values, st.sampled_from(sorted(MODELS)), st.sampled_from([200, 201, 204, 301, 400, 403, 429, 500, 529]))
def test_any_json_is_decided(value, protocol, status):
    """Any JSON made of the protocols' own names is decided under any status, whole and as a stream."""
    checked(status, json.dumps(value).encode(), protocol)
    events = value if isinstance(value, list) else [value]
    checked(status, as_bytes(events, stream=True), protocol)


@given(st.binary(max_size=200), st.sampled_from(sorted(MODELS)), st.integers(200, 599))
def test_any_bytes_are_decided(content, protocol, status):
    """Bytes that are no JSON, no text and no stream are decided too, after any beginning that looks like one."""
    for start in (b"", b"{", b"[", b"data: ", b": ", b"event: error\ndata: ", b"\xef\xbb\xbf{", b"<html>"):
        checked(status, start + content, protocol)


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ((80, 12, 92), (80, 12)), (("80", "12", "92"), (80, 12)), ((80.0, 12.0, None), (80, 12)), ((80, None, 80), (80, 0)),
        ((-1, 12, 11), None), ((80, 12, 50), None), ((80.5, 12, 92), None), ((10**9, 12, 10**9 + 12), None),
        ((True, 12, 13), None), (("many", 12, 92), None), ((None, 12, 12), None), ((float("nan"), 12, 92), None),
        ((float("inf"), 12, 92), None), ((80, 12, 1.7e15), None), (([80], 12, 92), None), ((10**5000, 12, 92), None),
        ((1e18, 1e18, 2e18), None), (("9" * 5000, 1, 1), None), ((80, -0.5, 92), None),
    ],
)  # fmt: skip
def test_counts_that_cannot_be_are_no_bill(counts, usage):
    """A count is a whole number that a call can have used; with any other, the answer stands and its bill is unknown."""
    names = [
        ("prompt_tokens", "completion_tokens", "total_tokens"),
        ("promptTokenCount", "candidatesTokenCount", "totalTokenCount"),
    ]
    told = [{name: value for name, value in zip(of, counts, strict=True) if value is not None} for of in names]
    bodies = {
        "chat-completions": {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": told[0]},
        "generate-content": {
            "candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}], "usageMetadata": told[1]
        },
    }  # fmt: skip
    for protocol, body in bodies.items():
        found = checked(200, long_json(body), protocol)
        assert isinstance(found, Answer)
        assert (found.text, found.usage and (found.usage.input, found.usage.output)) == ("x", usage), protocol


def long_json(value: Any) -> bytes:
    """JSON with numbers longer than Python writes by itself."""
    text = json.dumps(changed_numbers(value))
    return text.replace(f'"{LONG}"', "1" + "0" * 5000).encode()


LONG = "a number of 5,001 digits"


def changed_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: changed_numbers(part) for key, part in value.items()}
    return LONG if isinstance(value, int) and value.bit_length() > 5000 else value
