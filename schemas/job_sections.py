"""Job sections: what a call asks of the model, how fast calls go, and how often a row is tried again."""

from __future__ import annotations

import json
from typing import Any, Literal, Self

import msgspec
from pydantic import Field, field_validator, model_validator

from rowmill.schemas.section import ForAnswers, ForNothing, Part

Thinking = Literal["low", "high"]


class Params(Part):
    """What each call asks of the model. Only what is set here (and `stream`) is sent beside the documented defaults."""

    thinking: ForAnswers[Thinking | None] = Field(
        None, description="Reasoning effort; the gateway's default is high on gemini-3-pro"
    )
    include_thoughts: ForAnswers[bool] = Field(
        False, description="Ask for the reasoning text and keep it in a `thoughts` column"
    )
    temperature: ForAnswers[float | None] = Field(
        None, ge=0, le=2, description="Sampling temperature, sent only when set"
    )
    max_output_tokens: ForAnswers[int | None] = Field(
        None, gt=0, description="Bound of one answer; narrows the worst-case cost"
    )
    search: ForAnswers[bool] = Field(False, description="Google Search grounding; cannot be combined with functions")
    stream: ForNothing[bool] = Field(
        False, description="Receive answers as server-sent events; the rows come out the same"
    )
    extra: ForAnswers[dict[str, Any]] = Field(
        default_factory=dict, description="Further fields of the request body, sent as they stand"
    )

    @field_validator("extra")
    @classmethod
    def _is_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        # msgspec writes what is no number as null.
        try:
            json.dumps(msgspec.to_builtins(value), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"it holds what JSON does not know: {error}") from None
        return value


class Limits(Part):
    """How fast to go. `rpm` and `tpm` are the key's limits per minute; unset means no limit of ours."""

    concurrency: int = Field(32, gt=0, le=10_000, description="Most calls in flight at a time")
    rpm: float | None = Field(None, gt=0, description="Requests per minute")
    tpm: float | None = Field(None, gt=0, description="Tokens per minute, input and output together")
    window: Literal["even", "sliding"] = Field(
        "even",
        description="even: spread over each minute, which every gateway takes; sliding: as fast as a sliding minute "
        "allows, for a gateway known to count that way",
    )
    shared: bool = Field(
        False, description="Share rpm and tpm with all runs of the same key, through the Redis of ROWMILL_REDIS_URL"
    )
    timeout_s: float = Field(180, gt=0, description="Seconds without a byte after which a call is given up")
    call_s: float = Field(1_800, gt=0, description="Seconds after which a call is given up though bytes still come")
    max_line_bytes: int = Field(32 * 2**20, gt=0, description="Longest input line; a longer one is `unreadable`")
    max_media_bytes: int = Field(14 * 2**20, gt=0, description="Most bytes of media in one row; the rest is refused")

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        if self.shared and self.rpm is None and self.tpm is None:
            raise ValueError("shared limits need rpm or tpm: the key's limits, which all runs share")
        if self.shared and self.window == "sliding":
            raise ValueError("shared limits go evenly: use window: even")
        return self


class Retries(Part):
    """How often one row may be tried again, by what went wrong."""

    transport: int = Field(5, ge=0, description="After 500, 503, timeouts, disconnects, truncated bodies")
    content: int = Field(2, ge=0, description="After an answer that breaks the schema or was cut")
    outage_s: float = Field(60, ge=0, description="Seconds of outage after which the run stops with exit 6")


class Tool(Part):
    """A function the model may ask for; its calls come back typed in `tool_calls`, nothing is executed."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$", description="Its name, as it comes back")
    description: str = Field("", description="What it is for, shown to the model")
    parameters: dict[str, Any] = Field(default_factory=dict, description="JSON Schema of the arguments")
