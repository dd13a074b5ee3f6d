"""Results sums: the sums of results rows from their columns, as `Tally.add` makes them of outcomes."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.schemas.attempt import Spent
from rowmill.schemas.price import PICO, Cost
from rowmill.schemas.tally import Tally
from rowmill.schemas.usage import Usage
from rowmill.tasks.output.part_notes import NotedRows


def columns_tally(table: pa.Table, noted: NotedRows) -> Tally:
    """The sums of results rows, as `Tally.add` makes them of their outcomes."""

    def total(name: str) -> int:
        return int(pc.sum(table.column(name)).as_py() or 0)

    def money(name: str) -> int:
        return int((pc.sum(table.column(name)).as_py() or 0) * PICO)

    priced = not (table.column("cost_usd").null_count or table.column("cost_credits").null_count)
    failures: Counter[str] = Counter()
    unknown_usd = 0
    for bound, failed in noted.details.values():
        unknown_usd += bound
        failures.update(failed)
    return Tally(
        rows=table.num_rows,
        by_status=_counts(table.column("status")),
        spent=Spent(
            total("attempts"),
            Usage(total("input_tokens"), total("output_tokens"), total("thought_tokens")),
            Cost(money("cost_usd"), money("cost_credits")) if priced else None,
            bool(total("cost_unknown")),
            unknown_usd,
            sum(noted.joined.values()),
        ),
        wasted_usd=money("wasted_cost_usd"),
        unknown_rows=total("cost_unknown"),
        failures=dict(failures),
        evidence=_matches(table),
    )


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {one["values"]: one["counts"] for one in pc.value_counts(column).to_pylist()}


def _matches(table: pa.Table) -> dict[str, int]:
    """Checked values by how their quotes were found."""
    if "evidence" not in table.column_names:
        return {}
    found = pc.list_flatten(table.column("evidence"))
    return _counts(pc.struct_field(found, "match")) if len(found) else {}
