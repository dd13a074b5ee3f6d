"""Settings: how the sandbox behaves. Given at the start, changed while it runs by POST /sandbox/settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their units.

    `faults` maps a fault kind to its probability, `labels` a text that a prompt may hold to its right label or labels.
    A label is answered right with the probability `right`, or the model's own in `right_of`; in calls that several rows
    share with the probability `right_in_company`, where it is set. `confusion` maps a right label to the probabilities
    of what is said in its place. `models` are further models by name, each with the protocol that it speaks, at the
    prices of the built-in model of that protocol. `answers` maps a text that a prompt may hold to what is answered;
    of one in two parts (`output`, `evidence`) the first alone where no quotes are asked for. Media are billed by
    `media_rule`, as Google documents it. The same prompt always gets the same answer.
    """

    seed: int = 0
    latency_ms: float = 0.0
    latency_spread: float = 0.0
    rpm: float | None = None
    tpm: float | None = None
    limit_window: Literal["bucket", "sliding"] = "sliding"
    bucket_seconds: float = 1.0
    spend_limit_usd: str | None = None
    spend_reset_s: float | None = None
    credits: str = "1000000"
    faults: dict[str, float] = field(default_factory=dict)
    thoughts_beside: bool = False
    thoughts_count_as_output: bool = False
    answers: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str | list[str]] = field(default_factory=dict)
    right: float = 1.0
    right_of: dict[str, float] = field(default_factory=dict)
    right_in_company: float | None = None
    confusion: dict[str, dict[str, float]] = field(default_factory=dict)
    detail: bool = False
    models: dict[str, Literal["chat-completions", "generate-content"]] = field(default_factory=dict)
    media_rule: Literal["gemini-3", "gemini-2"] = "gemini-3"


def changed(settings: Settings, told: dict[str, object]) -> Settings:
    """The settings with some replaced. Raises ValueError for an unknown name or a wrong type."""
    known = msgspec.to_builtins(settings)
    unknown = sorted(set(told) - set(known))
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
    try:
        return msgspec.convert({**known, **told}, Settings)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
