"""Label: what a labelling job asks (the `label` section of a job file), and the votes that answer it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

import msgspec
from pydantic import Field, field_validator, model_validator

from rowmill.schemas.attempt import Spent
from rowmill.schemas.section import Affects, ForAnswers, ForNothing, ForResults, Later, Part, identity

VOTES_MOST = 99
# A stronger model where two of three votes agree or fewer; people where there is no majority.
ESCALATED_BELOW, REVIEWED_BELOW = 0.67, 0.51
REVIEWED_MOST = 10_000
# Labels that the schema repeats in any case, and where the gateway holds answers to it.
NAMED_TWICE_MOST, ENFORCED_MOST = 12, 40
# Labels of one row, in the order of the list; one alone unless the job is multi-label.
Labels = tuple[str, ...]


class Choice(Part):
    """One label, with what it means."""

    name: str = Field(min_length=1, description="The label itself, as it stands in the results")
    description: str = Field("", description="What it means, shown to the model")


class Example(Part):
    """A text with its right label, shown to the model. `row_id` names the input row it was taken from."""

    text: str = Field(min_length=1, description="The text, as a row would show it")
    label: str | list[str] = Field(description="Its right label, or a list of them")
    row_id: str | None = Field(None, description="The input row it was taken from; that row is then not scored")

    @property
    def labels(self) -> Labels:
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)


class Escalate(Part):
    """A stronger model for the rows on which the votes disagree."""

    model: str = Field(description="The stronger model")
    below: float = Field(ESCALATED_BELOW, gt=0, le=1, description="Ask it where the agreement is below this share")
    votes: int = Field(1, ge=1, le=VOTES_MOST, description="Its votes; they decide, whatever the first model said")


class Review(Part):
    """What people are asked to look at."""

    audit: float = Field(
        0,
        ge=0,
        le=1,
        description="Share of all rows, drawn at random, to review too: the accuracy is estimated from it",
    )
    most: int = Field(
        REVIEWED_MOST, gt=0, description="Most rows of review.jsonl, the most doubtful first; the audit comes on top"
    )


# What a job file may hold for them.
WrittenLabels = list[Choice | str | int | float | bool] | dict[str, str | None] | None


class Label(Part):
    """Labels from a closed set, by one vote or by many."""

    labels: ForAnswers[list[Choice] | None] = Field(
        None, description="The labels: names, {name, description} entries, or a mapping of names to descriptions"
    )
    column: ForNothing[str | None] = Field(
        None, description="Take the labels from the values of this column instead of a list"
    )
    multi: ForAnswers[bool] = Field(False, description="A row may have several labels, or none")
    votes: ForAnswers[int] = Field(
        1, ge=1, le=VOTES_MOST, description="Most answers asked for a row; fewer where they settle it"
    )
    shuffle: ForAnswers[bool] = Field(
        True, description="Show the labels in another order to each vote, against position bias"
    )
    order: ForNothing[Literal["row", "vote"] | None] = Field(
        None,
        description="row: shuffle for each row and vote, each label as often in each place; vote: one order for all "
        "rows of a vote. Unset: row, and in an output that was begun with one order that one",
    )
    enum: Later[ForNothing[Literal["few", "always"] | None]] = Field(
        None,
        description="Whether the schema that is sent repeats the labels that the prompt lists. few: only where there "
        "are few; always. Unset: few, and in an output that was begun with every name twice that",
    )
    ties: ForAnswers[Literal["first", "review"]] = Field(
        "first", description="first: of tied labels the one voted for first; review: no label, people decide"
    )
    hierarchy: ForNothing[str | None] = Field(
        None,
        min_length=1,
        description="What parts a label from its parent (`/` in billing/refund): scores at the parent",
    )
    gold: ForResults[str | None] = Field(None, description="Column with the right labels; never shown to the model")
    guidelines: ForAnswers[str | None] = Field(None, description="How to label, in your own words")
    examples: ForAnswers[int | list[Example]] = Field(
        0, description="Examples to show: a list, or how many gold rows to take (those are left out of the scores)"
    )
    reason: ForAnswers[bool] = Field(False, description="Ask for one sentence that says why, before the label")
    escalate: ForAnswers[Escalate | None] = Field(None, description="A stronger model where the votes disagree")
    min_accuracy: ForNothing[float | None] = Field(
        None, gt=0, le=1, description="Ask the gold rows first; stop before the rest where fewer of them are right"
    )
    min_recall: ForNothing[dict[str, float]] = Field(
        default_factory=dict, description="The same for single labels: of their gold rows at least this share is found"
    )
    min_kappa: ForNothing[float | None] = Field(None, gt=0, le=1, description="The same for Cohen's κ against gold")
    weigh: Later[ForNothing[Literal["none", "gold", "agreement"]]] = Field(
        "none",
        description="What a vote counts. none: one; gold: by how voters label gold rows, and where these are too few "
        "by how far votes agree; agreement: by that alone. Each label then has a probability; nothing is asked again",
    )
    review_below: ForNothing[float] = Field(
        REVIEWED_BELOW,
        ge=0,
        le=1,
        description="Rows of less agreement (less probability, if weighed) go to review.jsonl",
    )
    review: ForNothing[Review] = Field(default_factory=Review, description="What people are asked to look at")  # type: ignore[arg-type]

    @field_validator("labels", mode="before", json_schema_input_type=WrittenLabels)
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return [{"name": _name(name), "description": words or ""} for name, words in value.items()]
        if isinstance(value, list):
            return [one if isinstance(one, (dict, Choice)) else {"name": _name(one)} for one in value]
        return value

    @field_validator("labels")
    @classmethod
    def _a_choice(cls, value: list[Choice] | None) -> list[Choice] | None:
        if value is None:
            return None
        names = [one.name for one in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the label {name!r} stands twice: drop one of the two")
            if name != name.strip():
                raise ValueError(f"the label {name!r} begins or ends with a space: take it away")
            if not name.isprintable():
                raise ValueError(f"the label {name!r} holds a line break or a like sign: name it in one line")
        if len(names) < 2:
            raise ValueError(f"{len(names)} label leaves nothing to choose: name at least two")
        return value

    @field_validator("min_recall")
    @classmethod
    def _shares(cls, told: dict[str, float]) -> dict[str, float]:
        for name, share in told.items():
            if not 0 < share <= 1:
                raise ValueError(f"the recall of {name!r} is a share above 0, at most 1")
        return told

    @field_validator("examples")
    @classmethod
    def _some(cls, value: int | list[Example]) -> int | list[Example]:
        if isinstance(value, int) and value < 0:
            raise ValueError("a number of examples from 0, or a list of them")
        return value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (self.labels is None) == (self.column is None):
            raise ValueError("give either labels (a list) or column (the column that holds them)")
        if self.multi and (parted := [one.name for one in self.labels or () if "|" in one.name]):
            raise ValueError(f"the label {parted[0]!r} holds a |, which parts several labels in gold texts: rename it")
        if isinstance(self.examples, int) and self.examples and self.gold is None:
            raise ValueError("examples are taken from gold rows: name the gold column, or list the examples themselves")
        if self.labels is not None and (wrong := self.outside(self.min_recall)):
            raise ValueError(f"min_recall names {wrong[0]!r}, which is not among the labels")
        if self.labels is not None and not isinstance(self.examples, int):
            for example in self.examples:
                if wrong := self.outside(example.labels):
                    raise ValueError(f"an example has the label {wrong[0]!r}, which is not among the labels")
        return self

    @property
    def names(self) -> Labels:
        """The labels in the job's order. Only of a job whose labels are known (see tasks.plan.label_prompt)."""
        assert self.labels is not None
        return tuple(one.name for one in self.labels)

    def parent(self, name: str) -> str:
        """The label one level above, or the label itself where it has none."""
        return name.rpartition(self.hierarchy)[0] or name if self.hierarchy else name

    def outside(self, labels: Iterable[str]) -> list[str]:
        """Those that are not among the labels."""
        names = frozenset(self.names)
        return [name for name in labels if name not in names]

    def identity(self) -> dict[str, Any]:
        """What the answers depend on. A key that came later is left out where it changes nothing: outputs go on."""
        told = identity(self, {Affects.ANSWERS})
        if self.orders_by_row:
            told |= {"order": "row"}
        return told | {"enum": "few"} if self.may_be_named_once else told

    @property
    def may_be_named_once(self) -> bool:
        """Whether many labels stand in the prompt's list alone."""
        return self.enum != "always" and len(self.labels or ()) > NAMED_TWICE_MOST

    def is_named_once(self, *, native: bool) -> bool:
        """Whether the labels stand in the prompt's list alone, and not in the schema too. `native`: the gateway holds
        answers to the schema, which is worth a second list of some more labels.
        """
        return self.may_be_named_once and (not native or len(self.names) > ENFORCED_MOST)

    @property
    def orders_by_row(self) -> bool:
        """Whether each row sees the labels in an order of its own."""
        return self.shuffle and self.order != "vote"

    @property
    def has_gate(self) -> bool:
        """Whether gold rows decide if the rest is asked."""
        return self.min_accuracy is not None or self.min_kappa is not None or bool(self.min_recall)

    @property
    def is_weighed(self) -> bool:
        """Whether votes count by what is known of who cast them."""
        return self.weigh != "none"

    @property
    def fewest_votes(self) -> int:
        """Calls after which a row's label can be settled at the earliest."""
        return self.votes // 2 + 1


def _name(value: object) -> object:
    """A label as text. YAML reads `yes` and `no` as booleans, which are then no labels anyone meant."""
    if isinstance(value, bool):
        raise ValueError(f"YAML reads this label as {str(value).lower()}: put it in quotes")
    return str(value) if isinstance(value, int) else value


class Vote(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer about a row: the labels it names, None where the call brought none. `text` is the raw answer."""

    model: str
    labels: Labels | None = None
    status: str = "ok"
    error_kind: str | None = None
    text: str | None = None
    spent: Spent = Spent()
    latency_ms: int | None = None


class Labelling(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the votes made of a row. `labels` is None where they brought none, or tied with `ties: review`."""

    labels: Labels | None = None
    votes: tuple[Vote, ...] = ()
    agreement: float | None = None
    gold: Labels | None = None

    @property
    def correct(self) -> bool | None:
        """Whether the votes found the gold labels; None where there is no gold or no call was answered.

        An answer without a label (invalid, refused, a tie that goes to review) is not correct.
        """
        if self.gold is None or all(vote.status == "failed" for vote in self.votes):
            return None
        return self.labels is not None and set(self.labels) == set(self.gold)
