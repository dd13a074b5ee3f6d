"""Labelled: what votes made of a row, as results columns and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from rowmill.schemas.attempt import Spent
from rowmill.schemas.fields import FieldVoting
from rowmill.schemas.label import Labelling, Labels, Vote
from rowmill.schemas.price import PICO, Cost
from rowmill.schemas.results import money_array
from rowmill.schemas.usage import Usage


def label_column(name: str, type_: pa.DataType, told: Sequence[Labelling | None]) -> pa.Array:
    """One of LABEL_COLUMNS. Rows that were never asked have no labelling: null everywhere."""
    return LABEL_COLUMNS[name](told, type_)


def _labels(of: Callable[[Labelling], Labels | None]) -> Callable[[Sequence[Labelling | None], pa.DataType], pa.Array]:
    def column(told: Sequence[Labelling | None], type_: pa.DataType) -> pa.Array:
        return labels_array([None if one is None else of(one) for one in told], type_)

    return column


def labels_array(found: Sequence[Labels | None], type_: pa.DataType) -> pa.Array:
    """Labels of rows as their column holds them: text, or a list of texts where there may be several."""
    if pa.types.is_string(type_):
        return pa.array([None if labels is None else labels[0] for labels in found], type_)
    return pa.array([None if labels is None else list(labels) for labels in found], type_)


def votes_array(told: Sequence[Labelling | FieldVoting | None], type_: pa.DataType) -> pa.Array:
    """The votes about rows, a list each; an empty one for rows that were never asked."""
    lists = [() if one is None else one.votes for one in told]
    offsets = [0]
    for votes in lists:
        offsets.append(offsets[-1] + len(votes))
    every = [vote for votes in lists for vote in votes]
    fields = list(type_.value_type)
    structs = pa.StructArray.from_arrays([_vote_column(part.name, part.type, every) for part in fields], fields=fields)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)


def _vote_column(name: str, type_: pa.DataType, votes: Sequence[Vote]) -> pa.Array:
    if name == "label":
        return labels_array([vote.labels for vote in votes], type_)
    if name in ("cost_usd", "cost_credits"):
        part = name.removeprefix("cost_")
        return money_array([None if vote.spent.cost is None else getattr(vote.spent.cost, part) for vote in votes])
    return pa.array([_VOTE_VALUES[name](vote) for vote in votes], type_)


_VOTE_VALUES: dict[str, Callable[[Vote], Any]] = {
    "model": lambda vote: vote.model,
    "status": lambda vote: vote.status,
    "error_kind": lambda vote: vote.error_kind,
    "response_text": lambda vote: vote.text,
    "attempts": lambda vote: vote.spent.attempts,
    "input_tokens": lambda vote: vote.spent.usage.input,
    "output_tokens": lambda vote: vote.spent.usage.output,
    "thought_tokens": lambda vote: vote.spent.usage.thoughts,
    "cost_unknown": lambda vote: vote.spent.unknown,
    "latency_ms": lambda vote: vote.latency_ms,
}
LABEL_COLUMNS: dict[str, Callable[[Sequence[Labelling | None], pa.DataType], pa.Array]] = {
    "label": _labels(lambda one: one.labels),
    "votes": votes_array,
    "agreement": lambda told, type_: pa.array([None if one is None else one.agreement for one in told], type_),
    "gold": _labels(lambda one: one.gold),
    "correct": lambda told, type_: pa.array([None if one is None else one.correct for one in told], type_),
    "voted_label": _labels(lambda one: one.labels),
}


def labelling_in(values: Mapping[str, Any]) -> Labelling | None:
    """A results row → the labelling it was written from; None where it has none."""
    votes = values.get("votes")
    if not votes:
        return None
    return Labelling(
        labels_of(values["voted_label"]),
        tuple(vote_in(told) for told in votes),
        values["agreement"],
        labels_of(values["gold"]),
    )


def labels_of(value: str | list[str] | None) -> Labels | None:
    """A value of a label column as labels."""
    return None if value is None else (value,) if isinstance(value, str) else tuple(value)


def vote_in(told: Mapping[str, Any]) -> Vote:
    """A vote as it was written."""
    money = [told["cost_usd"], told["cost_credits"]]
    usage = Usage(told["input_tokens"], told["output_tokens"], told["thought_tokens"])
    cost = None if None in money else Cost(*(int(amount * PICO) for amount in money))
    return Vote(
        told["model"],
        labels_of(told.get("label")),
        told["status"],
        told["error_kind"],
        told["response_text"],
        Spent(told["attempts"], usage, cost, told["cost_unknown"]),
        told["latency_ms"],
    )
