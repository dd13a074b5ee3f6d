"""Part columns: outcomes → columns of the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from rowmill.schemas.evidence import evidence_value
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.output_schema import Shape
from rowmill.schemas.results import (
    EVIDENCE,
    FIELD_AGREEMENT,
    FIELD_CORRECT,
    HEAD,
    MONEY,
    OPTIONAL,
    STATUS,
    TAIL,
    TOOL_CALLS,
    Column,
    money_array,
)
from rowmill.tasks.fields.grading import Grader
from rowmill.tasks.fields.tree import field_tree
from rowmill.tasks.input.kept_columns import Pick
from rowmill.tasks.output.label_columns import LABEL_COLUMNS, label_column, votes_array
from rowmill.tasks.output.output_column import output_column
from rowmill.tasks.output.part_footer import FOOTER, Footer
from rowmill.tasks.output.part_grades import PartGrades


@dataclass(frozen=True, slots=True)
class PartColumns:
    """What the columns of a part are made of.

    `shape` types the outputs (None where they are texts), `kept` gives the kept columns of rows, and the gold that a
    `grader` holds their answers against.
    """

    schema: pa.Schema
    shape: Shape | None = None
    kept: Pick | None = None
    grader: Grader | None = None

    def written_with(self, footer: Footer) -> pa.Schema:
        """The schema as a part's file holds it."""
        return self.schema.with_metadata({**(self.schema.metadata or {}), FOOTER.encode(): msgspec.json.encode(footer)})


def encode_batch(outcomes: Sequence[Outcome], columns: PartColumns, grades: PartGrades | None = None) -> pa.Table:
    """Outcomes → some rows of the results. `grades` takes down how each is held against its gold."""
    schema, shape, rows = columns.schema, columns.shape, _Rows(outcomes)
    picked = None if columns.kept is None else columns.kept([outcome.row_index for outcome in outcomes])
    arrays: list[pa.Array | pa.ChunkedArray] = []
    for column in schema:
        if column.name == "output":
            arrays.append(output_column([one.output_text for one in outcomes], column.type, shape))
        elif column.name == FIELD_CORRECT and grades is not None and picked is not None:
            arrays.append(grades.column(outcomes, picked))
        elif column.name in _COLUMNS:
            arrays.append(_COLUMNS[column.name](rows))
        elif column.name == FIELD_AGREEMENT and shape is not None:
            agreement = [outcome.voting.agreement or None if outcome.voting else None for outcome in outcomes]
            arrays.append(field_tree(shape).column(agreement, pa.float64()))
        elif column.name == "votes":
            arrays.append(votes_array([outcome.labelling or outcome.voting for outcome in outcomes], column.type))
        elif column.name in LABEL_COLUMNS:
            arrays.append(label_column(column.name, column.type, [outcome.labelling for outcome in outcomes]))
        else:
            known = picked is not None and column.name in picked.column_names
            arrays.append(picked.column(column.name) if known else pa.nulls(len(outcomes), column.type))  # type: ignore[union-attr]
    return pa.Table.from_arrays(arrays, schema=pa.schema(list(schema)))


class _Rows:
    """Outcomes of which several columns are made, and what they share: taken from each of them once."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = outcomes
        self.spent = [one.spent for one in outcomes]
        self.usage = [one.usage for one in self.spent]
        self.cost = [one.cost for one in self.spent]


_Column = Callable[[_Rows], pa.Array]


# What of an outcome is shared by several columns, by how their sources begin.
_SHARED = {"spent.usage": "usage", "spent.cost": "cost", "spent": "spent", "": "outcomes"}


def _made(column: Column) -> _Column:
    """How a column is made of its source."""
    if column.repeats:
        return _text(column.source)
    shared, _, name = column.source.rpartition(".")
    value, rows_of = attrgetter(name), attrgetter(_SHARED[shared])
    if column.type == MONEY:
        return lambda rows: money_array([None if one is None else value(one) for one in rows_of(rows)])
    return lambda rows: pa.array(list(map(value, rows_of(rows))), column.type)


def _text(name: str) -> _Column:
    """A text that is often the same in all rows of a batch, or in none."""
    value = attrgetter(name)

    def column(rows: _Rows) -> pa.Array:
        values = list(map(value, rows.outcomes))
        if not values or values.count(values[0]) < len(values):
            return pa.array(values, pa.string())
        if values[0] is None:
            return pa.nulls(len(values), pa.string())
        return pa.repeat(pa.scalar(values[0], pa.string()), len(values))

    return column


# What takes more than a look at its source.
_NESTED: dict[str, _Column] = {
    "evidence": lambda rows: pa.array(
        [None if one.evidence is None else [evidence_value(value) for value in one.evidence] for one in rows.outcomes],
        EVIDENCE,
    ),
    "value_in_quote": lambda rows: pa.array(
        [
            None if one.evidence is None else [value.value_in_quote for value in one.evidence] for one in rows.outcomes
        ],
        pa.list_(pa.bool_()),
    ),
    "tool_calls": lambda rows: pa.array(
        [
            [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in outcome.tool_calls]
            for outcome in rows.outcomes
        ],
        TOOL_CALLS,
    ),
}  # fmt: skip
_COLUMNS: dict[str, _Column] = {
    column.name: _NESTED.get(column.name) or _made(column) for column in (*HEAD, STATUS, *TAIL, *OPTIONAL)
}


def output_metadata(schema: Any, shape: Shape) -> dict[str, str]:
    """The job's own schema, kept in the file that was typed from it, and which fields of `output` are JSON text."""
    if schema is None:
        return {}
    fields = encode_json([field.pointer for field in shape.json_text_fields]).decode()
    return {"rowmill.schema": encode_json(schema).decode(), "rowmill.json_text_fields": fields}
