"""Token estimate: what a call will use, learned from the calls before it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rowmill.schemas.usage import Usage

BYTES_A_TOKEN = 4.0
FIRST_OUTPUT_GUESS = 256.0
# Answers are spread widely: their mean is taken over so many, so that one long answer does not slow the fleet.
LEARNED_FROM = 200
# Standard deviations of the tokens in flight that are held back, so that a run of long answers draws no 429.
SPREADS_HELD = 3.0


@dataclass(slots=True)
class TokenEstimate:
    """What a call will use, learned from those before: input tokens by its bytes, output tokens by their mean a row."""

    bytes_a_token: float = BYTES_A_TOKEN
    output: float = FIRST_OUTPUT_GUESS
    variance: float = 0.0
    seen: int = 0

    def tokens(self, size: int, bound: int, in_flight: int, *, rows: int = 1) -> float:
        """What to reserve for a call of so many rows: the mean, and a share of how far all that are in flight may stray
        from it together.
        """
        straying = SPREADS_HELD * math.sqrt(rows * self.variance / (in_flight + 1))
        return size / self.bytes_a_token + min(rows * self.output + straying, bound)

    def learn(self, size: int, usage: Usage, rows: int = 1) -> None:
        self.seen = min(self.seen + 1, LEARNED_FROM)
        if usage.input:
            self.bytes_a_token += (size / usage.input - self.bytes_a_token) / self.seen
        told = usage.billed_output / rows
        off = told - self.output
        self.output += off / self.seen
        # Answers of equal length leave less than nothing of it by rounding.
        self.variance = max(0.0, self.variance + (off * (told - self.output) - self.variance) / self.seen)
