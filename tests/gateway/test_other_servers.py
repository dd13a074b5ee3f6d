"""Answers and errors in the forms that other servers give them, each read for what it says; many of them in one run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rowmill.schemas.attempt import Answer, Failure
from rowmill.tasks.gateway.protocols.event_stream import is_silence
from rowmill.tasks.gateway.refusals import failure_of
from rowmill.tasks.gateway.response import read_response
from tests.acceptance.test_run import direct
from tests.conftest import Bench, assert_balanced
from tests.gateway.test_response import MODELS
from tests.gateway.wire_server import serving

CHAT, GENERATE = "chat-completions", "generate-content"
USAGE = {"prompt_tokens": 80, "completion_tokens": 12, "total_tokens": 92}
COUNTS = {"promptTokenCount": 80, "candidatesTokenCount": 12, "totalTokenCount": 92}
TEXT = "It is late."
STOPPED = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
CALLED = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}


def whole(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": USAGE, **more}


def delta(message: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": message, "finish_reason": None}], **more}


def parts(*told: Any, finish: Any = "STOP", **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(told)}, "finishReason": finish}], "usageMetadata": COUNTS, **more}


def stream(*events: Any, end: str = "\n", done: bool = True) -> str:
    lines = [event if isinstance(event, str) else f"data: {json.dumps(event, ensure_ascii=False)}" for event in events]
    lines += ["data: [DONE]"] if done else []
    return "".join(line + end + end for line in lines)


def call(*pieces: tuple[Any, ...], **one: Any) -> str:
    """A stream of a tool call's pieces, each (index, id, name, arguments) without what is "-"."""
    events = []
    for index, *fields in pieces:
        call_id, name, arguments = fields
        function = {key: value for key, value in {"name": name, "arguments": arguments}.items() if value != "-"}
        told = {"index": index, "id": call_id, "function": function, **one}
        events.append(delta({"tool_calls": [{key: value for key, value in told.items() if value != "-"}]}))
    return stream(*events, CALLED)


# What a whole or streamed answer says: its text; "blocked", "broken", or a failure's kind; or its tool calls' arguments.
ANSWERS: dict[str, tuple[str, Any, Any]] = {
    # OpenAI, Azure
    "refusal among the parts": (CHAT, whole({"content": [{"type": "refusal", "refusal": "I can't"}]}), "blocked"),
    "refusal behind a text": (CHAT, whole({"content": [{"type": "text", "text": "So"}, {"type": "refusal", "refusal": "no"}]}), "blocked"),
    "refusal in pieces": (CHAT, stream(delta({"refusal": "I "}), delta({"refusal": "can't"}), STOPPED), "blocked"),
    "prompt filter first": (CHAT, stream({"choices": [], "prompt_filter_results": [{}]}, delta({"content": TEXT}), STOPPED), TEXT),
    "usage in a chunk of its own": (CHAT, stream(delta({"content": TEXT}, usage=None), STOPPED, {"choices": [], "usage": USAGE}), TEXT),
    "old function call in pieces": (CHAT, stream(delta({"function_call": {"name": "w", "arguments": ""}}), delta({"function_call": {"arguments": '{"a"'}}), delta({"function_call": {"arguments": ":1}"}}), CALLED), [{"a": 1}]),
    "the second choice first": (CHAT, {"choices": [{"index": 1, "message": {"content": "x"}, "finish_reason": "stop"}, {"index": 0, "message": {"content": TEXT}, "finish_reason": "stop"}], "usage": USAGE}, TEXT),
    "two choices at once": (CHAT, stream(delta({"content": "It is "}), {"choices": [{"index": 1, "delta": {"content": "x"}}]}, delta({"content": "late."}), STOPPED), TEXT),
    # OpenRouter, vLLM, Mistral, Moonshot, Ollama
    "reasoning as an object": (CHAT, whole({"content": TEXT, "reasoning": {"text": "hm"}}), TEXT),
    "reasoning as a part": (CHAT, whole({"content": [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": TEXT}]}), TEXT),
    "thinking as parts": (CHAT, whole({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": TEXT}]}), TEXT),
    "a part of unknown kind": (CHAT, whole({"content": [{"type": "text", "text": "It is "}, {"type": "markdown", "text": "late."}]}), "broken"),
    "a part of unknown kind without text": (CHAT, whole({"content": [{"type": "signature", "data": "x"}, {"type": "text", "text": TEXT}]}), TEXT),
    "an error beside a choice": (CHAT, stream(delta({"content": "It"}), {"error": {"code": 502, "message": "gone"}, **CALLED}), "internal_error"),
    "an error in a choice": (CHAT, {"choices": [{"error": {"code": 429, "message": "slow"}, "message": {"content": ""}}]}, "rate_limit_exceeded"),
    "usage in the choice": (CHAT, stream(delta({"content": TEXT}), {"choices": [{**STOPPED["choices"][0], "usage": USAGE}]}), TEXT),
    "the whole message behind its pieces": (CHAT, stream(delta({"content": TEXT}), {"choices": [{"index": 0, "delta": {}, "message": {"content": TEXT}, "finish_reason": "stop"}]}), TEXT),
    "messages in place of deltas": (CHAT, stream({"choices": [{"message": {"content": "It is "}}]}, {"choices": [{"message": {"content": "late."}, "finish_reason": "stop"}]}), TEXT),
    "an error object in the stream": (CHAT, stream({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}), "invalid_request"),
    "nothing but zeros used": (CHAT, {**whole({"content": TEXT}), "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}, TEXT),
    # keep-alives and ends of streams
    "an event without data": (CHAT, stream(delta({"content": "It is "}), "data:", "data: ", delta({"content": "late."}), STOPPED), TEXT),
    "pings": (CHAT, stream("event: ping\ndata: ping", 'event: ping\ndata: {"type": "ping"}', "event: heartbeat\ndata:", delta({"content": TEXT}), STOPPED), TEXT),
    "a byte order mark and CR": (CHAT, "\ufeff" + stream(delta({"content": TEXT}), STOPPED, end="\r"), TEXT),
    "data over several lines": (CHAT, f'data: {{"choices": [\ndata: {json.dumps(STOPPED["choices"][0])}\ndata: ]}}\n\n' + stream(delta({"content": TEXT})), TEXT),
    "no [DONE]": (CHAT, stream(delta({"content": TEXT}), STOPPED, done=False), TEXT),
    "an error behind the finish": (CHAT, stream(delta({"content": TEXT}), STOPPED, {"error": {"message": "m", "type": "server_error"}}), "internal_error"),
    "a line of JSON behind another": (CHAT, json.dumps(whole({"content": TEXT})) + "\n" + json.dumps(whole({"content": "x"})), "unreadable_body"),
    # tool calls
    "odd indexes": (CHAT, call((5, "a", "w", '{"a"'), ("5", "-", "-", ":1}"), (-1, "b", "w", "{}")), [{"a": 1}, {}]),
    "one name twice, nothing else": (CHAT, call(("-", "-", "w", '{"a":1}'), ("-", "-", "w", '{"a":2}')), [{"a": 1}, {"a": 2}]),
    "one name twice in one delta": (CHAT, stream(delta({"tool_calls": [{"function": {"name": "w", "arguments": '{"a":1}'}}, {"function": {"name": "w", "arguments": '{"a":2}'}}]}), CALLED), [{"a": 1}, {"a": 2}]),
    "one id for two indexes": (CHAT, call((0, "x", "w", '{"a":1}'), (1, "x", "c", '{"b":1}')), [{"a": 1}, {"b": 1}]),
    "the id in each piece": (CHAT, call((0, "x", "w", '{"a"'), (0, "x", "w", ":1}")), [{"a": 1}]),
    "a call told twice": (CHAT, call((0, "x", "w", '{"a":1}'), (0, "x", "w", '{"a":1}')), [{"a": 1}]),
    "an object in two pieces": (CHAT, call((0, "x", "w", {"a": 1}), (0, "-", "-", {"b": 1})), "unreadable_body"),
    # Vertex and bridges to it
    "the second candidate first": (GENERATE, {**parts(), "candidates": [{"index": 1, "content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}, {"index": 0, "content": {"parts": [{"text": TEXT}]}, "finishReason": "STOP"}]}, TEXT),
    "a blocked prompt alone": (GENERATE, {"promptFeedback": {"blockReason": "OTHER"}}, "blocked"),
    "a blocked prompt by its number": (GENERATE, {"promptFeedback": {"blockReason": 4}}, "blocked"),
    "a blocked prompt beside a candidate": (GENERATE, parts({"text": "It"}, promptFeedback={"blockReason": "SAFETY"}), "blocked"),
    "blocked in the middle": (GENERATE, stream({"candidates": [{"content": {"parts": [{"text": "It"}]}}]}, {"promptFeedback": {"blockReason": "SAFETY"}}, done=False), "blocked"),
    "feedback that blocks nothing": (GENERATE, parts({"text": TEXT}, promptFeedback={"blockReason": "BLOCK_REASON_UNSPECIFIED"}), TEXT),
    "citations": (GENERATE, {**parts(), "candidates": [{"content": {"parts": [{"text": TEXT}]}, "finishReason": "STOP", "citationMetadata": {"citations": [1]}}]}, TEXT),
    "code and media beside": (GENERATE, parts({"executableCode": {"code": "x"}}, {"codeExecutionResult": {"output": "3"}}, {"inlineData": {"data": "x"}}, {"text": TEXT, "thoughtSignature": "x"}), TEXT),
    "one part, no list": (GENERATE, {**parts(), "candidates": [{"content": {"parts": {"text": TEXT}}, "finishReason": "STOP"}]}, TEXT),
    "content as text": (GENERATE, {**parts(), "candidates": [{"content": TEXT, "finishReason": "STOP"}]}, TEXT),
    "content as text, streamed": (GENERATE, stream({"candidates": [{"content": "It is "}]}, {"candidates": [{"content": {"parts": {"text": "late."}}, "finishReason": "STOP"}]}, done=False), TEXT),
    "too many tool calls": (GENERATE, parts(finish="TOO_MANY_TOOL_CALLS"), "broken"),
    "an array, indented, CRLF": (GENERATE, json.dumps([parts({"text": TEXT})], indent=1).replace("\n", "\r\n"), TEXT),
    "an error in an array": (GENERATE, json.dumps([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m"}}]), "rate_limit_exceeded"),
}  # fmt: skip


def said(found: Answer | Failure) -> Any:
    if isinstance(found, Failure):
        return found.kind.value
    if found.blocked or found.broken:
        return "blocked" if found.blocked else "broken"
    return [json.loads(one.arguments) for one in found.tool_calls] or found.text


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_for_what_it_says(name):
    """Each form of an answer gives its text, its calls or its error; half of it is never taken for the whole."""
    protocol, body, expected = ANSWERS[name]
    content = body if isinstance(body, str) else json.dumps(body)
    found = read_response(200, {}, content.encode(), model=MODELS[protocol], wall=0.0)
    assert said(found) == expected
    if name == "nothing but zeros used":
        assert isinstance(found, Answer)
        assert found.usage is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # AWS: its gateway and its services
        (429, {"message": "Too Many Requests"}, "rate_limit_exceeded"), (403, {"message": "Forbidden"}, "forbidden"),
        (400, {"__type": "com.amazon.coral.service#ThrottlingException", "message": "slow"}, "rate_limit_exceeded"),
        (400, {"__type": "AccessDeniedException", "Message": "no"}, "forbidden"),
        (504, {"message": "Endpoint request timed out"}, "internal_error"), (413, {"message": "Request Too Long"}, "invalid_request"),
        # vLLM, Ollama, FastAPI
        (404, {"object": "error", "message": "no such model", "type": "NotFoundError", "code": 404}, "wrong_address"),
        (401, {"error": "Unauthorized"}, "invalid_api_key"), (404, {"error": 'model "x" not found, try pulling it first'}, "wrong_address"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required", "type": "value_error.missing"}]}, "invalid_request"),
        # LiteLLM, OpenRouter, Cloudflare, Anthropic, Moonshot
        (400, {"error": {"message": "Invalid model name passed in model=x", "type": "invalid_request_error", "param": "model", "code": "400"}}, "model_not_found"),
        (403, {"error": {"message": "m", "type": "key_model_access_denied", "code": "403"}}, "forbidden"),
        (402, {"error": {"code": 402, "message": "Insufficient credits"}}, "insufficient_credits"),
        (403, {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"]}}}, "forbidden"),
        (429, {"success": False, "errors": [{"code": 2003, "message": "Rate limited"}], "result": []}, "rate_limit_exceeded"),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to go on."}}, "insufficient_credits"),
        (429, {"error": {"type": "exceeded_current_quota_error", "message": "m"}}, "spend_limit_exceeded"),
        # An error handed on as the text of another
        (500, {"error": {"message": '{"error": {"code": "insufficient_quota", "message": "used up"}}', "code": 500}}, "spend_limit_exceeded"),
        (400, {"error": '{"error": {"status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}'}, "invalid_api_key"),
        (400, {"error": {"message": "{{ is no JSON", "code": "invalid_request"}}, "invalid_request"),
        # A passing state under a status that says otherwise
        (400, {"error": {"code": "upstream_error", "message": "m"}}, "upstream_error"),
        (422, {"error": {"type": "overloaded_error", "message": "m"}}, "upstream_error"),
        (422, {"error": {"type": "rate_limit_error", "message": "m"}}, "rate_limit_exceeded"),
    ],
)  # fmt: skip
def test_an_error_is_known_in_other_servers_forms(status, body, kind):
    """Each server's own form of an error is the failure that it means."""
    assert failure_of(status, {}, json.dumps(body).encode(), wall=0.0).kind.value == kind


@pytest.mark.parametrize(
    ("piece", "silent"),
    [
        (b": x\n\n", True), (b"\n", True), (b" \r\n", True), (b"event: ping\ndata: {}\n\n", True), (b"data:\n\n", True),
        (b'event: ping\ndata: {"type": "ping"}\n\n', True), (b"id: 7\nretry: 3\n\n", True), (b": " + b"x" * 999, True),
        (b"data: [DONE]\n\n", False), (b'data: {"choices": []}\n\n', False), (b"event: message\n", False), (b"x", False),
    ],
)  # fmt: skip
def test_pings_are_silence_like_comments(piece, silent):
    """Whatever a server sends to keep a stream open keeps no call alive."""
    assert is_silence(piece) is silent


# What becomes of the row of a run whose gateway answers so.
ROWS = {"blocked": "refused", "broken": "failed"}


@pytest.mark.parametrize(("model", "protocol"), [("gemini-3-pro", CHAT), ("gemini-3-flash", GENERATE)])
def test_a_row_of_a_run_gets_what_its_answer_says(bench: Bench, model, protocol):
    """Served to one run, each is its row's: its text, refused, or failed; with what it cost, and all others are ok."""
    cases = {}
    for number, (name, (of, body, expected)) in enumerate(ANSWERS.items()):
        if of == protocol and isinstance(expected, str) and expected != "rate_limit_exceeded":
            response = {"status": 200, "body_json": body}
            if isinstance(body, str):
                kind = "application/json" if body[0] in "[{" else "text/event-stream"
                response = {"status": 200, "headers": {"Content-Type": kind}, "body": body}
            cases[f"c{number}"] = {
                "name": name,
                "responses": [response],
                "status": ROWS.get(expected, "ok" if expected == TEXT else "failed"),
            }
    with serving(cases) as server:
        bench.rows(
            [{"id": f"plain{n}", "text": "x"} for n in range(20)]
            + [{"id": name, "text": f"[[case:{name}:1]]"} for name in cases]
        )
        bench.job(
            model=model, id="id", prompt="{{ text }}", retries={"transport": 0, "content": 0}, params={"stream": True}
        )
        ended = direct(bench, server.url)
    assert ended.code == 3, ended.err
    results = bench.results()
    assert_balanced(ended.manifest, results)
    rows = {row["row_id"]: row for row in results.iter_rows(named=True)}
    wrong = {
        case["name"]: rows[name]["status"] for name, case in cases.items() if rows[name]["status"] != case["status"]
    }
    assert wrong == {}
    assert {row["output"] for name, row in rows.items() if name in cases and row["status"] == "ok"} == {TEXT}
    assert {row["status"] for name, row in rows.items() if name.startswith("plain")} == {"ok"}
