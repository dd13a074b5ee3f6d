"""Usage: the tokens one or more attempts were billed for, as the gateway reported them."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Billed tokens. `output` is the visible answer, `thoughts` the reasoning; both are billed as output.

    `cached` is the part of `input` that the gateway had read before, where it says so.
    """

    input: int = 0
    output: int = 0
    thoughts: int = 0
    cached: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.thoughts + other.thoughts,
            self.cached + other.cached,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.input - other.input,
            self.output - other.output,
            self.thoughts - other.thoughts,
            self.cached - other.cached,
        )

    @property
    def billed_output(self) -> int:
        return self.output + self.thoughts

    @property
    def total(self) -> int:
        return self.input + self.output + self.thoughts


def split_usage(
    prompt: int, completion: int, thoughts: int, *, total: int | None, inside: bool, cached: int = 0
) -> Usage | None:
    """Counts as a provider reports them → usage with the thoughts apart; None where its total contradicts its parts.

    Providers count thoughts inside the completion (OpenAI) or beside it (Gemini, and Google behind the OpenAI
    protocol). `total` decides where it can; `inside` is the protocol's own definition where it cannot. What a total
    holds beyond the parts that are named is reasoning that was not named: it is billed, so it is counted. More cached
    tokens than the prompt has are none of it: the whole prompt is then taken as read anew, which is the dearer reading.
    """
    cached = cached if cached <= prompt else 0
    if total is None:
        if inside and thoughts <= completion:
            return Usage(prompt, completion - thoughts, thoughts, cached)
        return Usage(prompt, completion, thoughts, cached)
    if total == prompt + completion:
        return Usage(prompt, completion - thoughts, thoughts, cached) if thoughts <= completion else None
    if total >= prompt + completion + thoughts:
        return Usage(prompt, completion, total - prompt - completion, cached)
    return None
