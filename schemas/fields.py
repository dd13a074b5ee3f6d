"""Fields: what a job says of the single fields of its answers (`gold`, `votes`), and the votes that answered a row."""

from __future__ import annotations

import math
import re
from typing import Any, Self

import msgspec
from pydantic import Field, field_validator, model_validator

from rowmill.schemas.label import REVIEWED_BELOW, REVIEWED_MOST, VOTES_MOST, Escalate, Vote
from rowmill.schemas.section import ForAnswers, ForNothing, Later, Part

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

    min_accuracy: Later[ForNothing[float | None]] = Field(
        None, gt=0, le=1, description="Ask the gold rows first; stop before the rest where fewer of their fields are "
        "right (above 0, to 1)"
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


class FieldVotes(Part):
    """Several answers about a row, each field by majority. `votes: 3` says how many at the most."""

    most: ForAnswers[int] = Field(
        ge=1, le=VOTES_MOST, description="Most answers asked for a row; fewer where more could change nothing"
    )
    review_below: ForNothing[float] = Field(
        REVIEWED_BELOW, ge=0, le=1, description="Rows with a field of less agreement go to review.jsonl"
    )
    review_most: ForNothing[int] = Field(
        REVIEWED_MOST, gt=0, description="Most rows of review.jsonl, the most doubtful first"
    )
    escalate: ForAnswers[Escalate | None] = Field(
        None, description="A stronger model for the rows with a field of less agreement; its votes decide them"
    )

    @model_validator(mode="after")
    def _several(self) -> Self:
        if self.most == 1 and self.escalate is not None:
            raise ValueError("one vote never disagrees: escalate needs votes of 2 or more")
        return self

    @property
    def fewest(self) -> int:
        """Calls after which a row can be settled at the earliest, where all of them agree."""
        enough = max(self.review_below, self.escalate.below if self.escalate else 0.0)
        majority = self.most - self.most // 2
        return next(asked for asked in range(majority, self.most + 1) if asked / self.most >= enough)


class FieldVoting(msgspec.Struct, frozen=True, omit_defaults=True):
    """The votes that answered a row, and for each field (in the order of the output's leaves) the share that agrees
    with what the row's output says; none where no vote was accepted.
    """

    votes: tuple[Vote, ...] = ()
    agreement: tuple[float, ...] = ()


def gold_of(value: Any) -> Any:
    """`gold` as a job file writes it: a column's name stands for the section."""
    if isinstance(value, (bool, int, float, list, tuple)):
        raise ValueError("gold is the name of a column, or a section with its `column`")
    return {"column": value} if isinstance(value, str) else value


def votes_of(value: Any) -> Any:
    """`votes` as a job file writes it: a number stands for the section."""
    if isinstance(value, bool):
        raise ValueError("votes is a number, such as 3")
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        # As other numbers of a job may be written, and as flags and variables bring them.
        value = int(value)
    if isinstance(value, (str, float, list, tuple)):
        raise ValueError("votes is a number, such as 3, or a section with `most`")
    if value == 1:
        # One answer is what every job asks.
        return None
    return {"most": value} if isinstance(value, int) else value
