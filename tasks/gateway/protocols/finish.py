"""Finish: what a provider's finish reason says of its answer, no I/O. One table for both protocols.

Bridges hand on each other's words, in either case, and the numbers of Google's enum (v1beta, `Candidate.FinishReason`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

# Google's enum by its numbers.
NUMBERS: Mapping[str, str] = {
    "1": "stop", "2": "max_tokens", "3": "safety", "4": "recitation", "5": "other", "6": "language", "7": "blocklist",
    "8": "prohibited_content", "9": "spii", "10": "malformed_function_call", "11": "image_safety",
}  # fmt: skip


class Ending(Enum):
    """How an answer ended. Whatever is not known to be whole, cut or blocked broke off."""

    WHOLE = "whole"
    CUT = "cut"
    BLOCKED = "blocked"
    BROKEN = "broken"
    NOT_SAID = "not said"


_WORDS: Mapping[Ending, tuple[str, ...]] = {
    Ending.WHOLE: (
        "stop", "end_turn", "stop_sequence", "eos", "eos_token", "end", "complete", "completed", "finish", "finished",
        "tool_calls", "tool_call", "tool_use", "function_call", "function_calls",
    ),
    Ending.CUT: ("length", "max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit", "max_token"),
    Ending.BLOCKED: (
        "content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content", "spii",
        "image_safety", "image_prohibited_content", "image_recitation", "language", "refusal", "blocked", "sensitive",
        "guardrail_intervened", "model_armor", "error_toxic",
    ),
}  # fmt: skip
ENDINGS: Mapping[str, Ending] = {word: ending for ending, words in _WORDS.items() for word in words}


def ending(finish: str | None) -> Ending:
    """The ending that a finish reason tells."""
    if finish is None:
        return Ending.NOT_SAID
    found = ENDINGS.get(finish)
    if found is not None:
        return found
    plain = finish.strip().lower().replace("-", "_").replace(" ", "_").removeprefix("finish_reason_")
    plain = NUMBERS.get(plain.removesuffix(".0"), plain)
    return ENDINGS.get(plain, Ending.BROKEN if plain and plain != "unspecified" else Ending.NOT_SAID)
