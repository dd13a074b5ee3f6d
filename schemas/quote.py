"""Quote: what gold rows promised of a way of asking before it was paid for; and what its run came to."""

from __future__ import annotations

from msgspec import Struct
from pydantic import Field

from rowmill.schemas.section import Part


class Quote(Part):
    """What `rowmill tune` found of the plan that it marked. Shares of gold rows, 95 % intervals, USD."""

    target: float = Field(gt=0, le=1, description="Share of gold rows that has to be right")
    margin: float = Field(ge=0, lt=1, description="How far below the target the true share may lie")
    accuracy: float = Field(ge=0, le=1, description="Share that was right of gold rows that did not choose the plan")
    low: float = Field(ge=0, le=1, description="Lower end of its 95 % interval")
    high: float = Field(ge=0, le=1, description="Upper end of its 95 % interval")
    rows: int = Field(ge=0, description="How many gold rows these were")
    usd_per_1000_rows: float | None = Field(None, ge=0, description="What 1,000 rows cost")
    usd_low: float | None = Field(None, ge=0, description="Lower end of its 95 % interval")
    usd_high: float | None = Field(None, ge=0, description="Upper end of its 95 % interval")

    @property
    def floor(self) -> float:
        """The share below which the quote is broken."""
        return max(0.0, self.target - self.margin)


class GoldFigures(Struct, frozen=True, kw_only=True):
    """How many gold rows, the share that is right with its 95 % interval (None without one), and what rows cost."""

    rows: int = 0
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    usd_per_1000_rows: float | None = None


class QuotedFigures(GoldFigures, frozen=True, kw_only=True):
    """The figures of a quote."""

    target: float = 0.0
    margin: float = 0.0
    usd_low: float | None = None
    usd_high: float | None = None


class QuoteOutcome(Struct, frozen=True, kw_only=True):
    """What `run.json` tells under `quote`: what was quoted, and the same of all rows that are settled.

    `is_kept` is False where the gold rows show less than the quote's floor beyond chance (95 %), None without one.
    """

    quoted: QuotedFigures = QuotedFigures()
    found: GoldFigures = GoldFigures()
    is_kept: bool | None = None
