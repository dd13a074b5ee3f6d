"""Results: the columns of a part, the same for every part of an output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from rowmill.schemas.errors import JobError

if TYPE_CHECKING:
    from rowmill.schemas.job import Job

MONEY = pa.decimal128(18, 12)
TIME = pa.timestamp("us", tz="UTC")
TOOL_CALLS = pa.list_(pa.struct([("id", pa.string()), ("name", pa.string()), ("arguments", pa.string())]))

EVIDENCE = pa.list_(pa.struct([
    ("field", pa.string()), ("quote", pa.string()), ("column", pa.string()), ("start", pa.int64()),
    ("end", pa.int64()), ("match", pa.string()),
]))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the results: its type, and `source`, where its value stands in an outcome. `when` tells the jobs
    whose results have it; None for all. `repeats`: one value is often that of many rows in a row.
    """

    name: str
    type: pa.DataType
    source: str
    when: Callable[[Job], bool] | None = None
    repeats: bool = False


# The kept columns stand after these.
HEAD = (
    Column("row_id", pa.string(), "row_id"),
    Column("row_index", pa.int64(), "row_index"),
)
STATUS = Column("status", pa.string(), "status", repeats=True)
# `output`, typed by the job's schema, stands before these.
TAIL = (
    Column("response_text", pa.string(), "response_text"),
    Column("repair", pa.string(), "repair", repeats=True),
    Column("error_kind", pa.string(), "error_kind", repeats=True),
    Column("error_message", pa.string(), "error_message", repeats=True),
    Column("finish_reason", pa.string(), "finish_reason", repeats=True),
    Column("model", pa.string(), "model", repeats=True),
    Column("attempts", pa.int32(), "spent.attempts"),
    Column("input_tokens", pa.int64(), "spent.usage.input"),
    Column("output_tokens", pa.int64(), "spent.usage.output"),
    Column("thought_tokens", pa.int64(), "spent.usage.thoughts"),
    Column("cost_usd", MONEY, "spent.cost.usd"),
    Column("cost_credits", MONEY, "spent.cost.credits"),
    Column("wasted_cost_usd", MONEY, "wasted_usd"),
    Column("cost_unknown", pa.bool_(), "spent.unknown"),
    Column("reused_from", pa.string(), "reused_from", repeats=True),
    Column("latency_ms", pa.int64(), "latency_ms"),
    Column("started_at", TIME, "started_at"),
    Column("finished_at", TIME, "finished_at"),
    Column("request_key", pa.string(), "request_key"),
    Column("price_version", pa.string(), "price_version", repeats=True),
    Column("run_id", pa.string(), "run_id", repeats=True),
)
OPTIONAL = (
    Column("thoughts", pa.string(), "thoughts", lambda job: job.params.include_thoughts, repeats=True),
    Column("grounding", pa.string(), "grounding", lambda job: job.params.search, repeats=True),
    Column("tool_calls", TOOL_CALLS, "tool_calls", lambda job: bool(job.tools)),
    Column("evidence", EVIDENCE, "evidence", lambda job: bool(job.evidence)),
    # Beside `evidence`, an entry for each of its own.
    Column("value_in_quote", pa.list_(pa.bool_()), "evidence", lambda job: bool(job.evidence)),
)
# Beside them stand columns of each job's own types: the output, its fields' marks, and votes.
FIELD_CORRECT, FIELD_AGREEMENT = "field_correct", "field_agreement"
# What weighed votes add: how likely `voted_label` is right, and the likeliest labels.
PROBABILITY, PROBABILITIES = "label_probability", "label_probabilities"


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


RESERVED = frozenset(
    [*(column.name for column in (*HEAD, STATUS, *TAIL, *OPTIONAL)), "output", FIELD_CORRECT, FIELD_AGREEMENT]
    + [name for name, _ in label_columns(multi=False, weighed=True)]
)


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
        *((column.name, column.type) for column in HEAD),
        *keep.items(),
        (STATUS.name, STATUS.type),
        ("output", output),
        *((column.name, column.type) for column in TAIL),
        *optional,
    ]
    return pa.schema(columns, metadata=metadata)
