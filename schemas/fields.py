"""Fields: what a job says of the single fields of its answers."""

from __future__ import annotations

import math
import re
from typing import Any

from pydantic import Field, field_validator

from rowmill.schemas.section import ForNothing, Part

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
Tolerance = float | str


class FieldGold(Part):
    """The column with the right outputs, and how answers are compared with it. `gold: truth` names the column alone."""

    column: ForNothing[str] = Field(
        min_length=1, description="Column with the right output, an object or JSON text; never shown to the model"
    )
    tolerance: ForNothing[Tolerance | dict[str, Tolerance]] = Field(
        0.0,
        description='How far a number may be off: 0.01, or "1%" of the right one; for all number fields, or a mapping '
        "of fields. A text field that is named here is compared as a number",
    )
    exact: ForNothing[bool | list[str]] = Field(
        False, description="Fields that must be equal letter by letter (true: all); others may differ in case, white "
        "space, Unicode form, quotes and hyphens"
    )  # fmt: skip

    @field_validator("tolerance")
    @classmethod
    def _tolerances(cls, told: Tolerance | dict[str, Tolerance]) -> Tolerance | dict[str, Tolerance]:
        for one in told.values() if isinstance(told, dict) else [told]:
            slack(one)
        return told


def slack(told: Tolerance) -> tuple[float, float]:
    """A tolerance as (absolute, share of the right number). Raises ValueError."""
    if isinstance(told, str):
        found = _PERCENT.fullmatch(told)
        if found is None:
            raise ValueError(f'the tolerance {told!r} is neither a number nor a share such as "1%"')
        return 0.0, float(found[1]) / 100
    if not math.isfinite(told) or told < 0:
        raise ValueError(f"the tolerance {told} is no number from 0")
    return float(told), 0.0


def gold_of(value: Any) -> Any:
    """`gold` as a job file writes it: a column's name stands for the section."""
    return {"column": value} if isinstance(value, str) else value
