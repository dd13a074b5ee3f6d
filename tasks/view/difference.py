"""Difference: two outputs row by row, joined by their ids: which answers changed, and in which fields."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from rowmill.tasks.output.flat_columns import FlatColumn
from rowmill.tasks.view.output import ViewedOutput
from rowmill.tasks.view.query import QueryError, as_text, split_filter
from rowmill.tasks.view.table import ResultsTable

# Columns of the second output are named with this before them.
OTHER = "b."
CHANGED, ONLY = "changed", "only"
FLAGS = ("true", "false")
QUERIES_HELD = 6
# What an answer is, beside the fields of `output`.
ANSWERS = ("status", "label")


class Difference:
    """Two outputs. Rows are those of the first in its order, then those that only the second has."""

    def __init__(self, first: ViewedOutput, second: ViewedOutput) -> None:
        self.first, self.second = first, second
        self._joined: tuple[Any, pl.DataFrame, list[str]] | None = None
        self._chosen: OrderedDict[tuple[Any, ...], pl.DataFrame] = OrderedDict()
        self._lock = Lock()

    def page(
        self, *, search: str, filters: Sequence[str], contains: Sequence[str], sort: str, offset: int, limit: int
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many rows a query finds in either output, and some of them."""
        chosen = self._rows(search, tuple(filters), tuple(contains), sort=sort)
        some = chosen.slice(offset, limit)
        a, b = (self._side(some, name, output) for name, output in (("a", self.first), ("b", self.second)))
        changed = [[name for name in self._join()[1] if row[f"{CHANGED}.{name}"]] for row in some.iter_rows(named=True)]
        ids = some["row_id"].to_list()
        return chosen.height, [
            {"row_id": row_id, "changed": names, "a": one, "b": other}
            for row_id, names, one, other in zip(ids, changed, a, b, strict=True)
        ]

    def _side(self, some: pl.DataFrame, name: str, output: ViewedOutput) -> list[dict[str, Any] | None]:
        standing = some[name].drop_nulls().to_list()
        found = dict(zip(standing, output.rows(standing, prompts=True), strict=True))
        return [found.get(position) for position in some[name].to_list()]

    def fields(self) -> list[dict[str, Any]]:
        """How many rows that both outputs have differ in each field."""
        joined, names = self._join()
        return [{"field": name, "changed": int(joined[f"{CHANGED}.{name}"].sum())} for name in names]

    def counts(self) -> dict[str, int]:
        joined, _ = self._join()
        a, b = joined["a"].is_not_null(), joined["b"].is_not_null()
        return {
            "in_both": int((a & b).sum()), "only_a": int((a & ~b).sum()), "only_b": int((b & ~a).sum()),
            "changed": int(joined[CHANGED].sum()),
        }  # fmt: skip

    def _rows(self, search: str, filters: tuple[str, ...], contains: tuple[str, ...], *, sort: str) -> pl.DataFrame:
        joined, names = self._join()
        key = (id(joined), search, filters, contains, sort)
        with self._lock:
            if key in self._chosen:
                return self._chosen[key]
        chosen = self._filtered(joined, names, search, filters=filters, contains=contains, sort=sort)
        with self._lock:
            self._chosen[key] = chosen
            while len(self._chosen) > QUERIES_HELD:
                self._chosen.popitem(last=False)
        return chosen

    def _filtered(
        self, joined: pl.DataFrame, names: list[str], search: str, *, filters: tuple[str, ...],
        contains: tuple[str, ...], sort: str,
    ) -> pl.DataFrame:  # fmt: skip
        own, rest = _on_change(filters, names)
        for condition in own:
            joined = joined.filter(condition)
        for side, output in (("a", self.first), ("b", self.second)):
            conditions, parts = (
                [_without(one) for one in some if _is_others(one) == (side == "b")] for some in (rest, contains)
            )
            if conditions or parts:
                found = output.positions(output.query(filters=conditions, contains=parts))
                joined = joined.filter(pl.col(side).is_in(pl.Series(found).implode()))
        if search:
            hits = [
                pl.col(side).is_in(pl.Series(output.positions(output.query(search=search))).implode())
                for side, output in (("a", self.first), ("b", self.second))
            ]
            joined = joined.filter(hits[0].fill_null(False) | hits[1].fill_null(False))
        return self._sorted(joined, sort) if sort else joined

    def _sorted(self, joined: pl.DataFrame, sort: str) -> pl.DataFrame:
        side = "b" if _is_others(sort) else "a"
        output = self.second if side == "b" else self.first
        positions = output.positions(output.query(sort=_without(sort)))
        assert positions is not None
        rank = np.empty(len(positions), np.int64)
        rank[positions] = np.arange(len(positions))
        ranks = pl.DataFrame({side: np.arange(len(positions)), "rank": rank})
        return joined.join(ranks, on=side, how="left", maintain_order="left").sort("rank", nulls_last=True)

    def _join(self) -> tuple[pl.DataFrame, list[str]]:
        """Positions of both outputs by row, and for each field whether it changed."""
        tables = self.first.table, self.second.table
        key = tuple(table.signature for table in tables)
        with self._lock:
            if self._joined is not None and self._joined[0] == key:
                return self._joined[1], self._joined[2]
        names = _compared(*tables)
        a, b = (_digests(table, names, side) for table, side in zip(tables, "ab", strict=True))
        joined = a.join(b, on="row_id", how="full", coalesce=True, maintain_order="left_right")
        in_both = pl.col("a").is_not_null() & pl.col("b").is_not_null()
        differs = {name: in_both & pl.col(f"a.{name}").ne_missing(pl.col(f"b.{name}")) for name in names}
        found = joined.select(
            "row_id", "a", "b",
            *(differs[name].alias(f"{CHANGED}.{name}") for name in names),
            pl.any_horizontal(pl.lit(False), *differs.values()).alias(CHANGED),
            pl.when(pl.col("b").is_null()).then(pl.lit("a")).when(pl.col("a").is_null()).then(pl.lit("b")).alias(ONLY),
        )  # fmt: skip
        with self._lock:
            self._joined = (key, found, names)
            self._chosen.clear()
        return found, names


def _compared(*tables: ResultsTable) -> list[str]:
    """The fields of an answer, as columns of either table."""
    names = dict.fromkeys(
        name for table in tables for name, column in table.columns.items()
        if column.path[0] == "output" or name in ANSWERS
    )  # fmt: skip
    return list(names)


def _digests(table: ResultsTable, names: Sequence[str], side: str) -> pl.DataFrame:
    """For each row its id, its position and a hash of each field: 8 bytes a field, whatever it holds."""
    columns = [table.columns[name] for name in names if name in table.columns]
    id_column = FlatColumn("row_id", ("row_id",), pa.string())

    def hashed(first: int, batch: pa.RecordBatch) -> pl.DataFrame:
        texts = {f"{side}.{column.name}": pl.Series(as_text(column.of(batch))) for column in columns}
        frame = pl.DataFrame({"row_id": pl.Series(id_column.of(batch)), **texts})
        position = pl.int_range(first, first + batch.num_rows, dtype=pl.Int64).alias(side)
        hashes = [pl.when(pl.col(name).is_not_null()).then(pl.col(name).hash(1)).alias(name) for name in texts]
        missing = [pl.lit(None, pl.UInt64).alias(f"{side}.{name}") for name in names if name not in table.columns]
        return frame.select("row_id", position, *hashes, *missing)

    found = list(table.scan([id_column, *columns], hashed))
    if found:
        return pl.concat(found)
    empty = {"row_id": pl.String, side: pl.Int64} | {f"{side}.{name}": pl.UInt64 for name in names}
    return pl.DataFrame(schema=empty)


def _on_change(filters: Sequence[str], names: Sequence[str]) -> tuple[list[pl.Expr], list[str]]:
    """Conditions on what changed and on which side a row stands, and the other filters.

    Raises QueryError for a value that these cannot have.
    """
    own: list[pl.Expr] = []
    rest: list[str] = []
    values: dict[str, tuple[str, ...]] = {f"{CHANGED}.{one}": FLAGS for one in names}
    values |= {CHANGED: FLAGS, ONLY: ("a", "b")}
    for one in filters:
        allowed, value = split_filter(values, one)
        if allowed is None:
            rest.append(one)
            continue
        name = one[: -len(value) - 1]
        if value not in allowed:
            raise QueryError(f"{value!r} cannot be", where=f"filter {name}", hint=f"write {' or '.join(allowed)}")
        own.append(pl.col(name) == (value == "true" if allowed is FLAGS else value))
    return own, rest


def _is_others(told: str) -> bool:
    return told.removeprefix("-").startswith(OTHER)


def _without(told: str) -> str:
    """The same without the prefix of the second output's columns."""
    sign = "-" if told.startswith("-") and told.removeprefix("-").startswith(OTHER) else ""
    return sign + told.removeprefix("-").removeprefix(OTHER) if _is_others(told) else told
