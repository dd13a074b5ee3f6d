"""Approval form: what Prefect asks of whoever resumes a flow run whose bill is above the limit."""

from __future__ import annotations

from typing import Any

from prefect.input import RunInput
from pydantic import Field

TOLD: dict[str, Any] = {"readOnly": True}


class Approval(RunInput):
    """Approve what this run may spend. The other figures are what was forecast, in USD, and are not read back."""

    approved_usd: float = Field(gt=0, le=10**9, description="The most that this run may spend, in USD")
    forecast_usd: float = Field(description="Forecast of the rows that are to be asked", json_schema_extra=TOLD)
    low_usd: float = Field(description="Lower end of its 95 % interval", json_schema_extra=TOLD)
    high_usd: float = Field(description="Upper end of its 95 % interval", json_schema_extra=TOLD)
    bound_99_usd: float = Field(description="What it passes once in a hundred times", json_schema_extra=TOLD)
    cap_usd: float | None = Field(None, description="What the job's own caps leave", json_schema_extra=TOLD)
