"""Section: what every section of a job file has in common, and what a change of one of its keys makes new."""

from __future__ import annotations

from collections.abc import Container
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic.fields import FieldInfo


class Part(BaseModel):
    """A section whose unknown keys are refused, and that never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth(cls, value: object, info: ValidationInfo) -> object:
        """Refuses true and false where a number is expected: pydantic reads them as 1 and 0."""
        if isinstance(value, bool):
            annotation: Any = cls.model_fields[info.field_name or ""].annotation
            kinds = _kinds(annotation)
            if kinds & {int, float, Decimal} and not kinds & {bool, Any, Literal}:
                raise ValueError(f"a number is expected, and {str(value).lower()} is none")
        return value


@cache
def _kinds(annotation: Any) -> frozenset[Any]:
    """The types within a type."""
    parts = () if get_origin(annotation) is Literal else get_args(annotation)
    return frozenset({get_origin(annotation) or annotation}).union(*map(_kinds, parts))


class Affects(Enum):
    """What a change of a key makes new: other answers, other results of the same answers, or nothing."""

    ANSWERS = "answers"
    RESULTS = "results"
    NOTHING = "nothing"


class Added(Enum):
    """When a key came: one that came after the first version is part of an identity only where it is set."""

    LATER = "later"


T = TypeVar("T")
# A key's type says so: `prompt: ForAnswers[str]`. A section without one has it on each of its own keys.
ForAnswers = Annotated[T, Affects.ANSWERS]
ForResults = Annotated[T, Affects.RESULTS]
ForNothing = Annotated[T, Affects.NOTHING]
# Outputs that were made before there was such a key are known again: `evidence: Later[ForAnswers[bool]]`.
Later = Annotated[T, Added.LATER]


def affects(field: FieldInfo) -> Affects | None:
    """What a key says of itself; None where its section's own keys say it."""
    return next((mark for mark in field.metadata if isinstance(mark, Affects)), None)


def identity(section: Part, wanted: Container[Affects]) -> dict[str, Any]:
    """The keys of a section, as a job file names them, of which a change makes one of these new; as JSON values."""
    values = section.model_dump(mode="json")
    found: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        inner = getattr(section, name)
        mark = affects(field)
        if Added.LATER in field.metadata and inner == field.get_default(call_default_factory=True):
            continue
        if mark in wanted:
            found[field.alias or name] = values[name]
        elif mark is None and isinstance(inner, Part):
            found[field.alias or name] = identity(inner, wanted)
    return found
