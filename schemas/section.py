"""Part: what every section of a job file has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A section whose unknown keys are refused, and that never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
