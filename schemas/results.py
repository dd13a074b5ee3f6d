"""Results: the Arrow schema of a part, the same for every part of an output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rowmill.schemas.errors import JobError
from rowmill.schemas.json_text import encode_json

MONEY = pa.decimal128(18, 12)
TIME = pa.timestamp("us", tz="UTC")
TOOL_CALLS = pa.list_(pa.struct([("id", pa.string()), ("name", pa.string()), ("arguments", pa.string())]))

HEAD = [("row_id", pa.string()), ("row_index", pa.int64())]
TAIL = [
    ("response_text", pa.string()),
    ("repair", pa.string()),
    ("error_kind", pa.string()),
    ("error_message", pa.string()),
    ("finish_reason", pa.string()),
    ("model", pa.string()),
    ("attempts", pa.int32()),
    ("input_tokens", pa.int64()),
    ("output_tokens", pa.int64()),
    ("thought_tokens", pa.int64()),
    ("cost_usd", MONEY),
    ("cost_credits", MONEY),
    ("wasted_cost_usd", MONEY),
    ("cost_unknown", pa.bool_()),
    ("reused_from", pa.string()),
    ("latency_ms", pa.int64()),
    ("started_at", TIME),
    ("finished_at", TIME),
    ("request_key", pa.string()),
    ("price_version", pa.string()),
    ("run_id", pa.string()),
]
EVIDENCE = pa.list_(pa.struct([
    ("field", pa.string()), ("quote", pa.string()), ("column", pa.string()), ("start", pa.int64()),
    ("end", pa.int64()), ("match", pa.string()),
]))  # fmt: skip
# `value_in_quote` stands beside `evidence`, an entry for each of its own.
EVIDENCE_COLUMNS = {"evidence": EVIDENCE, "value_in_quote": pa.list_(pa.bool_())}
OPTIONAL = {"thoughts": pa.string(), "grounding": pa.string(), "tool_calls": TOOL_CALLS}
# What weighed votes add: how likely `voted_label` is right, and the likeliest labels.
PROBABILITY, PROBABILITIES = "label_probability", "label_probabilities"
RESERVED = frozenset(
    [name for name, _ in HEAD + TAIL]
    + ["status", "output", "label", "votes", "agreement", "gold", "correct", "voted_label"]
    + ["field_correct", "field_agreement"]
    + [PROBABILITY, PROBABILITIES]
    + list(OPTIONAL)
    + list(EVIDENCE_COLUMNS)
)


def label_columns(*, multi: bool, weighed: bool = False) -> list[tuple[str, pa.DataType]]:
    """What a labelling job adds. `label` is a person's where one was handed in, else what the votes chose.

    Where votes are weighed, the probability of that choice stands beside it, null until a run has ended.
    """
    labels = pa.list_(pa.string()) if multi else pa.string()
    return [
        ("label", labels), ("votes", votes_type(labels)), ("agreement", pa.float64()), ("gold", labels),
        ("correct", pa.bool_()), ("voted_label", labels),
        *(weighed_columns().items() if weighed else ()),
    ]  # fmt: skip


def weighed_columns() -> dict[str, pa.DataType]:
    """The columns that only weighed votes have."""
    each = pa.struct([("label", pa.string()), ("probability", pa.float64())])
    return {PROBABILITY: pa.float64(), PROBABILITIES: pa.list_(each)}


def votes_type(labels: pa.DataType | None = None) -> pa.DataType:
    """The votes about a row, each with its own answer and bill; with what it says where it is about labels."""
    told = [("label", labels)] if labels is not None else []
    vote = [
        ("model", pa.string()), *told, ("status", pa.string()), ("error_kind", pa.string()),
        ("response_text", pa.string()), ("attempts", pa.int32()), ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()), ("thought_tokens", pa.int64()), ("cost_usd", MONEY), ("cost_credits", MONEY),
        ("cost_unknown", pa.bool_()), ("latency_ms", pa.int64()),
    ]  # fmt: skip
    return pa.list_(pa.struct(vote))


def money_array(amounts: Sequence[int | None]) -> pa.Array:
    """10⁻¹² units → decimal128(18, 12), exactly: the same integers under another scale."""
    whole = pa.array(amounts, pa.int64()).cast(pa.decimal128(19, 0))
    return pa.Array.from_buffers(MONEY, len(whole), whole.buffers(), whole.null_count, whole.offset)


def results_schema(
    keep: dict[str, pa.DataType],
    output: pa.DataType,
    optional: Sequence[tuple[str, pa.DataType]] = (),
    *,
    metadata: dict[str, str] | None = None,
) -> pa.Schema:
    """Columns of a part in the contract's order, then those that only some jobs ask for.

    Raises JobError where a kept column bears the name of a results column.
    """
    for name in keep:
        if name in RESERVED:
            raise JobError(
                f"the column {name!r} cannot be kept: the results have a column of this name",
                where="keep",
                hint=f"rename the input column, or drop {name!r} from keep",
            )
    columns = [
        *HEAD,
        *keep.items(),
        ("status", pa.string()),
        ("output", output),
        *TAIL,
        *optional,
    ]
    return pa.schema(columns, metadata=metadata)


@dataclass(slots=True)
class KeepTypes:
    """Arrow types of kept JSON columns, widened as values are met: text where no other type holds all unchanged."""

    kinds: dict[str, str] = field(default_factory=dict)

    def meet(self, name: str, value: Any) -> None:
        met = _kind(value)
        had = self.kinds.get(name, "null")
        if met != had and met != "null":
            self.kinds[name] = met if had == "null" else _WIDER.get(frozenset((met, had)), "text")

    def arrow(self, names: list[str]) -> dict[str, pa.DataType]:
        return {name: _ARROW[self.kinds.get(name, "null")] for name in names}


# A double holds whole numbers up to 2⁵³ alone: beyond, they are kept apart from numbers with a fraction.
EXACT_IN_DOUBLE = range(-(2**53), 2**53 + 1)
_INT64 = range(-(2**63), 2**63)
_WIDER = {frozenset(("int", "float")): "float", frozenset(("int", "long")): "long"}
_ARROW = {
    "null": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if value in EXACT_IN_DOUBLE else "long" if value in _INT64 else "text"
    return "float" if isinstance(value, float) else "text"


_FITS = {
    "bool": pa.types.is_boolean,
    "int": lambda type_: pa.types.is_integer(type_) or pa.types.is_floating(type_),
    "long": pa.types.is_integer,
    "float": pa.types.is_floating,
}


def kept(value: Any, type_: pa.DataType) -> Any:
    """A kept JSON value as its column holds it. Raises ValueError where the column cannot hold it unchanged."""
    if value is None:
        return None
    if pa.types.is_string(type_):
        return value if isinstance(value, str) else encode_json(value).decode().strip('"')
    fits = _FITS.get(_kind(value))
    if fits is None or not fits(type_):
        raise ValueError(f"the kept column is {type_} in the rows before, here it holds {encode_json(value)[:60]!r}")
    return value


def kept_or_null(value: Any, type_: pa.DataType) -> Any:
    """The same, null where the column cannot hold it: such a row has been refused."""
    try:
        return kept(value, type_)
    except ValueError:
        return None
