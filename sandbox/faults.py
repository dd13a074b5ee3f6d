"""Faults: what goes wrong, on request, and always the same way for the same request and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rowmill.sandbox.chance import drawn_fault
from rowmill.sandbox.oddities import ODDITIES, REFUSALS, STREAM_FAULTS
from rowmill.sandbox.packs import ENTRY
from rowmill.sandbox.quotes import QUOTE_FAULTS, spoiled_quotes
from rowmill.sandbox.reply import Reply


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """A documented error: HTTP status, code, type and message. Source: the pages' error reference."""

    status: int
    code: str
    type: str
    message: str
    retry_after: str | None = None


ERRORS: Mapping[str, ErrorForm] = {
    form.code: form
    for form in (
        ErrorForm(400, "invalid_request", "invalid_request_error", "Missing or invalid parameters."),
        ErrorForm(401, "invalid_api_key", "authentication_error", "API key is invalid, disabled, or deleted."),
        ErrorForm(402, "insufficient_credits", "billing_error", "Your credit balance is too low. Please top up."),
        ErrorForm(403, "ip_not_allowed", "permission_error", "Request IP is not in the key's allowlist."),
        ErrorForm(404, "model_not_found", "invalid_request_error", "Model does not exist or is inactive."),
        ErrorForm(404, "task_not_found", "invalid_request_error", "Task ID does not exist."),
        ErrorForm(429, "rate_limit_exceeded", "rate_limit_error", "Too many requests, please slow down.", "1"),
        ErrorForm(429, "spend_limit_exceeded", "billing_error", "Key spend limit reached (hourly)."),
        ErrorForm(500, "internal_error", "api_error", "Unexpected server error."),
        ErrorForm(503, "upstream_error", "upstream_error", "Upstream AI provider returned an error."),
    )
}
# Faults of the wire, and of an answer that is billed all the same.
WIRE = frozenset(
    {"rate_limit_date", "bare_429", "disconnect", "hang", "slow", "truncated", "garbage", "html_502", "echo_key"}
)
CONTENT = frozenset(
    {
        *QUOTE_FAULTS,
        "empty",
        "no_usage",
        "invalid_json",
        "wrong_schema",
        "fenced",
        "prose",
        "cut",
        "blocked",
        "blocked_prompt",
    }
)
KINDS = frozenset(ERRORS) | WIRE | CONTENT | frozenset(REFUSALS) | frozenset(ODDITIES) | STREAM_FAULTS | ENTRY
# Faults of an answer that is billed and sent as any other.
ANSWERED = CONTENT | frozenset(ODDITIES) | STREAM_FAULTS


def fault_for(text: str, seen: int, seed: int, *, chances: Mapping[str, float]) -> str | None:
    """The fault of a request that was seen so often before: its own marker first, else by chance."""
    return drawn_fault(text, seen, seed, chances=chances, kinds=KINDS - ENTRY)


def spoiled(reply: Reply, kind: str) -> Reply:
    """A reply with a fault of content. It is billed as it stands."""
    match kind:
        case _ if kind in QUOTE_FAULTS:
            return replace(reply, text=spoiled_quotes(reply.text, kind))
        case "empty":
            return replace(reply, text="", output=0)
        case "invalid_json":
            return replace(reply, text=f"{reply.text[:-1]} and so on", finish="stop")
        case "wrong_schema":
            return replace(reply, text='{"unexpected": [1, 2, 3]}')
        case "fenced":
            return replace(reply, text=f"```json\n{reply.text}\n```")
        case "prose":
            return replace(reply, text=f"Here is the answer: {reply.text} I hope it helps.")
        case "cut":
            half = max(1, len(reply.text) // 2)
            return replace(reply, text=reply.text[:half], output=max(1, reply.output // 2), finish="length")
        case "blocked":
            return replace(reply, text="", output=0, finish="blocked")
        case "blocked_prompt":
            return replace(reply, text="", output=0, reasoning=0, finish="blocked", blocked_prompt=True)
    return reply
