"""Expectation: what a forecast from a random sample says of the rows of a run, as the run's own projection uses it."""

from __future__ import annotations

from dataclasses import dataclass

from rowmill.schemas.forecast import Basis, Forecast
from rowmill.schemas.price import PICO


@dataclass(frozen=True, slots=True)
class Expectation:
    """A row is expected to cost `row_usd` + `token_usd` x its billed input tokens, in 10⁻¹² USD.

    `input_tokens` is what the rows to ask will be billed for as input, all together.
    """

    input_tokens: float
    row_usd: float
    token_usd: float

    def usd(self, rows: int, input_tokens: float) -> float:
        """What so many rows with so many input tokens are expected to cost, in 10⁻¹² USD."""
        return self.row_usd * rows + self.token_usd * input_tokens


def expectation_of(told: Forecast | None, *, job: str, rows: int, input_tokens: int) -> Expectation | None:
    """What a forecast expects of the rows of a run that are left; None where it is not about them.

    `job` is the run's fingerprint, `rows` all rows of its input, `input_tokens` what its settled rows were billed for.
    """
    if told is None or told.job != job or told.rows.total != rows or told.basis is not Basis.RANDOM:
        return None
    if told.cost_usd is None or told.sample is None:
        return None
    ratio = told.sample.input_ratio * told.sample.calls_a_row
    settled_since = max(0.0, input_tokens - told.settled_input_tokens)
    return Expectation(
        max(0.0, told.input_tokens - settled_since),
        told.intercept_usd * PICO,
        told.usd_per_token * PICO / ratio if ratio > 0 else 0.0,
    )
