"""Labels: the `label` section of a job → what each vote asks of the model, and what its answer names. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from pydantic import PrivateAttr

from rowmill.schemas.job import Job
from rowmill.schemas.json_text import decode_json
from rowmill.schemas.label import Choice, Label, Labels

TASK = {
    False: "You label the rows of a data set. Read the text and choose the one label that fits it best.",
    True: "You label the rows of a data set. Read the text and choose every label that applies to it, or none.",
}
CLOSING = "Use the labels exactly as they are written above, and no others."


# Orders of the labels that rows see at the most: each takes a planner.
TURNS_MOST = 60


class AskedJob(Job):
    """A job as one vote asks it, with the labels in their first order. Each row may see them in another (`at_turn`)."""

    _base: Job = PrivateAttr()
    _vote: int = PrivateAttr(0)

    @property
    def turns(self) -> int:
        """How many orders there are."""
        assert self.label is not None
        return min(len(self.label.names), TURNS_MOST)

    def turn_of(self, text: str) -> int:
        """The order that a row sees, by what it asks: equal requests see equal orders, and are paid once."""
        return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()) % self.turns

    def at_turn(self, turn: int) -> Job:
        """The job as rows of this order are asked."""
        return _asked(self._base, shown_order(self._base.label, self._vote, turn))  # type: ignore[arg-type]


def as_asked(job: Job, vote: int = 0) -> Job:
    """The job as one vote asks it (the first is number 0): system text and schema are made from its labels.

    A job without labels is returned as it is. The labels must be known (see tasks.labelling.gold).
    """
    label = job.label
    if label is None:
        return job
    asked = _asked(job, shown_order(label, vote))
    if not label.orders_by_row:
        return asked
    by_row = AskedJob.model_construct(**dict(asked))
    by_row._base, by_row._vote = job, vote
    return by_row


def _asked(job: Job, choices: Sequence[Choice]) -> Job:
    label = job.label
    assert label is not None
    system = "\n\n".join(part for part in (job.system, scaffold(label, choices)) if part)
    return job.model_copy(update={"system": system, "output_schema": label_schema(label, choices)})


def shown_order(label: Label, vote: int, turn: int = 0) -> list[Choice]:
    """The labels as a vote sees them: as listed, then from the end, then in orders fixed for all time by a hash.

    A `turn` begins each of these elsewhere: over all turns each label stands in each place as often as any other.
    """
    order = _order_of_vote(label, vote)
    start = turn * len(order) // min(len(order), TURNS_MOST)
    return order[start:] + order[:start]


def _order_of_vote(label: Label, vote: int) -> list[Choice]:
    assert label.labels is not None
    if vote == 0 or not label.shuffle:
        return list(label.labels)
    if vote == 1:
        return list(reversed(label.labels))
    return sorted(label.labels, key=lambda one: blake2b(f"{vote} {one.name}".encode(), digest_size=8).digest())


def scaffold(label: Label, choices: Sequence[Choice]) -> str:
    """The system text: the task, the guidelines, the labels, the examples."""
    listed = "\n".join(f"- {one.name}" + (f": {one.description}" if one.description else "") for one in choices)
    parts = [TASK[label.multi], label.guidelines and f"Guidelines:\n{label.guidelines.strip()}", f"Labels:\n{listed}"]
    if not isinstance(label.examples, int) and label.examples:
        shown = "\n\n".join(
            f"Text: {one.text.strip()}\nLabel: {', '.join(one.labels) or '(none)'}" for one in label.examples
        )
        parts.append(f"Examples:\n\n{shown}")
    return "\n\n".join(part for part in [*parts, CLOSING] if part)


def label_schema(label: Label, choices: Sequence[Choice]) -> dict[str, Any]:
    """The schema of one answer: `label`, or `labels` where there may be several; `reason` first where it is wanted."""
    one: dict[str, Any] = {"type": "string", "enum": [choice.name for choice in choices]}
    fields: dict[str, Any] = {"reason": {"type": "string"}} if label.reason else {}
    fields |= {"labels": {"type": "array", "items": one, "uniqueItems": True}} if label.multi else {"label": one}
    return {
        "title": "label",
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def sent_label_schema(label: Label, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an answer without the labels: the prompt lists them, and answers are held to them as they come."""
    name = "labels" if label.multi else "label"
    one = {"type": "string", "description": "A label of the list, as it is written there"}
    field = {**schema["properties"][name], "items": one} if label.multi else one
    return {**schema, "properties": {**schema["properties"], name: field}}


def labels_in(output_text: str, label: Label) -> Labels:
    """The labels that an accepted answer names, in the order of the job's list."""
    value = decode_json(output_text)
    return tuple(name for name in label.names if name in value["labels"]) if label.multi else (value["label"],)


def without_gold(columns: Mapping[str, Any], gold: str | None) -> Mapping[str, Any]:
    """A row's columns as the model may see them: without the one that holds the right answers."""
    if gold is None or gold not in columns:
        return columns
    return {name: value for name, value in columns.items() if name != gold}
