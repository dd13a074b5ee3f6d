"""Oddities: faults as other gateways, proxies and bridges have them, in the form in which each of them sends them.

`REFUSALS` come in place of an answer, `ODDITIES` change an answer that is billed all the same, `STREAM_FAULTS` change
how a stream is sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Change = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Status, body (JSON, or text as it is) and headers of a refusal."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def _google(status: int, word: str, message: str, **detail: str) -> Refusal:
    error = {"code": status, "message": message, "status": word, **({"details": [detail]} if detail else {})}
    return Refusal(status, {"error": error})


def _openai(status: int, message: str, type_: str | None, *, code: str | None, **more: Any) -> Refusal:
    return Refusal(status, {"error": {"message": message, "type": type_, "param": None, "code": code, **more}})


_PAGE = "<html><head><title>{}</title></head><body>{}</body></html>"

REFUSALS: Mapping[str, Refusal] = {
    "firewall_403": Refusal(403, _PAGE.format("Blocked", "Your request looks like an attack.")),
    "portal_200": Refusal(200, _PAGE.format("Sign in", "Guest network")),
    "html_429": Refusal(429, _PAGE.format("Slow down", "429"), {"Retry-After": "1"}),
    "permission_denied": _google(403, "PERMISSION_DENIED", "No access to this file."),
    "not_found": _google(404, "NOT_FOUND", "No such file."),
    "google_bad_key": _google(400, "INVALID_ARGUMENT", "API key not valid.", reason="API_KEY_INVALID"),
    "region": _google(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
    "retry_info": _google(429, "RESOURCE_EXHAUSTED", "Quota exceeded for requests per minute", retryDelay="1s"),
    "too_large_413": Refusal(413, _PAGE.format("Too large", "The request is too large.")),
    "too_large_429": _openai(429, "Request too large: reduce the input.", "tokens", code="rate_limit_exceeded"),
    "insufficient_quota": _openai(429, "Your quota is used up.", "insufficient_quota", code="insufficient_quota"),
    "billing_hard_limit": _openai(
        400, "The hard limit is reached.", "invalid_request", code="billing_hard_limit_reached"
    ),
    "billing_error_403": _openai(403, "Billing is not active.", "billing_error", code="rate_limit_exceeded"),
    "budget_exceeded": _openai(429, "Budget has been exceeded!", "budget_exceeded", code="429"),
    "budget_exceeded_422": _openai(422, "Budget has been exceeded!", "budget_exceeded", code="422"),
    "unknown_model_400": _openai(400, "The model does not exist.", "invalid_request_error", code="model_not_found"),
    "content_filter_400": _openai(400, "The prompt was filtered.", None, code="content_filter"),
    "conflict_409": _openai(409, "Conflict, try again.", "conflict_error", code=None),
    "too_early_425": Refusal(425, "Too Early"),
    "client_closed_499": Refusal(499, {"error": {"message": "client closed request"}}),
    "overloaded_529": Refusal(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    "spend_limit_200": Refusal(200, {"error": {"code": "spend_limit_exceeded", "message": "The limit is used up"}}),
    "rate_limit_200": Refusal(200, {"choices": None, "error": {"code": 429, "message": "Too many requests"}}),
    "bad_key_200": Refusal(200, {"error": {"code": "invalid_api_key", "message": "This key was deleted"}}),
    "upstream_200": Refusal(200, {"error": {"code": "upstream_error", "message": "The provider refused"}}),
}  # fmt: skip


def _answers(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices or candidates of a body or of a chunk."""
    found: list[dict[str, Any]] = body.get("choices") or body.get("candidates") or []
    return found


def _finish(word: Any) -> Change:
    def change(body: dict[str, Any]) -> None:
        for answer in _answers(body):
            for name in ("finish_reason", "finishReason"):
                if answer.get(name):
                    answer[name] = word

    return change


def _counts(count: Callable[[int], Any]) -> Change:
    def change(body: dict[str, Any]) -> None:
        for name in ("usage", "usageMetadata"):
            if isinstance(body.get(name), dict):
                told = body[name]
                body[name] = {key: count(value) if isinstance(value, int) else value for key, value in told.items()}

    return change


def _with(**fields: Any) -> Change:
    return lambda body: body.update({name: value for name, value in fields.items() if name in body})


def _no_answers(value: Any) -> Change:
    return lambda body: body.update({name: value for name in ("choices", "candidates") if name in body})


def _content_parts(body: dict[str, Any]) -> None:
    for answer in body.get("choices") or []:
        for name in ("message", "delta"):
            message = answer.get(name, {})
            if isinstance(message.get("content"), str):
                text = message["content"]
                message["content"] = [{"type": "text", "text": text[:5]}, {"type": "text", "text": text[5:]}]


def _text_null(body: dict[str, Any]) -> None:
    for answer in body.get("candidates") or []:
        answer["content"]["parts"] = [{"text": None}, *answer["content"]["parts"], {"text": None, "thought": True}]


def _tool_calls(change: Callable[[dict[str, Any]], None]) -> Change:
    def changed(body: dict[str, Any]) -> None:
        for answer in body.get("choices") or []:
            message = answer.get("message") or answer.get("delta") or {}
            for call in message.get("tool_calls") or []:
                change(call)

    return changed


def _argument_object(call: dict[str, Any]) -> None:
    call["function"]["arguments"] = json.loads(call["function"]["arguments"])


ODDITIES: Mapping[str, Change] = {
    "finish_number": _finish(1),
    "finish_error": _finish("error"),
    "finish_network_error": _finish("network_error"),
    "finish_other": _finish("OTHER"),
    "finish_malformed": _finish("MALFORMED_FUNCTION_CALL"),
    "finish_end_turn": _finish("end_turn"),
    "finish_safety": _finish("SAFETY"),
    "finish_max_tokens": _finish("MAX_TOKENS"),
    "finish_missing": _finish(None),
    "model_number": _with(model=3, modelVersion=3),
    "model_null": _with(model=None, modelVersion=None),
    "content_parts": _content_parts,
    "text_null": _text_null,
    "counts_text": _counts(str),
    "counts_float": _counts(float),
    "counts_negative": _counts(lambda count: -count - 1),
    "counts_huge": _counts(lambda count: 10**30),
    "counts_nan": _counts(lambda count: float("nan")),
    "counts_null": _with(usage=None, usageMetadata=None),
    "no_answers": _no_answers([]),
    "answers_object": _no_answers({"0": {}}),
    "argument_object": _tool_calls(_argument_object),
    "call_id_number": _tool_calls(lambda call: call.update(id=7)),
    "call_no_index": _tool_calls(lambda call: call.pop("index", None)),
}
STREAM_FAULTS = frozenset({"stream_error", "no_finish", "whole_json", "linger", "keepalive", "closed_early"})


def odd(text: str, kind: str) -> str:
    """A body, or a piece of a stream, with an oddity; comments and the end of a stream stay."""
    start = "data: " if text.startswith("data: ") else ""
    if text.strip() == "data: [DONE]" or (not start and not text.startswith("{")):
        return text
    end = text[len(text.rstrip()) :]
    body = json.loads(text.removeprefix(start))
    ODDITIES[kind](body)
    return start + json.dumps(body, ensure_ascii=False) + end
