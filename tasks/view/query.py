"""Query: which rows of a table, and in which order: a search, conditions on columns, and a column to sort by."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rowmill.schemas.errors import RowmillError
from rowmill.schemas.json_text import encode_json
from rowmill.tasks.output.flat_columns import FlatColumn, plain_decimals
from rowmill.tasks.output.python_values import python_values
from rowmill.tasks.view.table import ResultsTable

# Texts that nobody searches for: names that rowmill gives.
NOT_SEARCHED = frozenset({"request_key", "price_version", "run_id", "votes", "tool_calls"})
COMPARED = {">=": pc.greater_equal, "<=": pc.less_equal, ">": pc.greater, "<": pc.less}
T = TypeVar("T")
# A column of text whose cells are all numbers → the same by its numbers; any other as it is.
ByNumber = Callable[[FlatColumn], FlatColumn]
_NUMBER = re.compile(r"(?P<sign>>=|<=|>|<)?\s*(?P<value>\S+)")


class QueryError(RowmillError):
    """A search, a filter or a sort that cannot be answered."""


@dataclass(frozen=True, slots=True)
class Condition:
    """`COLUMN:VALUE` of a filter. `contains` takes VALUE as a part of the text, whatever its case."""

    column: FlatColumn
    value: str
    negated: bool = False
    contains: bool = False

    def mask(self, batch: pa.RecordBatch) -> pa.Array:
        """Which rows meet it; none is null."""
        values = self.column.of(batch)
        if self.contains:
            met = pc.match_substring(as_text(values), self.value, ignore_case=True)
        elif self.value == "":
            met = pc.or_kleene(pc.is_null(values), pc.equal(as_text(values), ""))
        elif self.column.as_json:
            # A list meets it that holds the value.
            element = encode_json(self.value).decode()
            met = pc.or_(pc.equal(values, self.value), pc.match_substring(values, element))
        elif pa.types.is_boolean(values.type):
            met = pc.equal(values, self.value.lower() == "true")
        elif _is_number(values.type):
            met = self._compared(values)
        elif pa.types.is_temporal(values.type):
            met = self._in_time(as_text(values))
        else:
            met = pc.equal(as_text(values), self.value)
        met = pc.fill_null(met, False)
        return pc.invert(met) if self.negated else met

    def _compared(self, values: pa.Array) -> pa.Array:
        sign, number = number_in(self.value)
        compare = COMPARED.get(sign or "", pc.equal)
        if pa.types.is_integer(values.type) and number == number.to_integral_value() and abs(number) < 2**63:
            return compare(values, pa.scalar(int(number), pa.int64()))
        return compare(values.cast(pa.float64()), float(number))

    def _in_time(self, texts: pa.Array) -> pa.Array:
        for sign, compare in COMPARED.items():
            if self.value.startswith(sign):
                return compare(texts, self.value.removeprefix(sign).strip().replace("T", " "))
        return pc.starts_with(texts, self.value.replace("T", " "))


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a table. Equal queries give the same rows."""

    search: str = ""
    conditions: tuple[Condition, ...] = ()
    sort: FlatColumn | None = None
    descending: bool = False

    @property
    def takes_all(self) -> bool:
        return not self.search and not self.conditions and self.sort is None

    def positions(self, table: ResultsTable, in_input: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
        """Positions of the rows, in the order asked for: nulls last, equal ones in the rows' order.

        `in_input` tells of each row whether its input holds what is searched for.
        """
        searched = _searched(table) if self.search else []
        needed = [*searched, *(condition.column for condition in self.conditions)]
        if self.sort is not None:
            needed.append(self.sort)

        def matching(first: int, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], pa.Array | None]:
            hits = None if in_input is None else in_input[first : first + batch.num_rows]
            mask = self._mask(batch, searched, hits)
            keys = None if self.sort is None else sort_key(self.sort.of(batch)).filter(mask)
            found = np.flatnonzero(mask.to_numpy(zero_copy_only=False)).astype(np.int64) + first
            return found, keys

        parts = list(table.scan(needed, matching))
        if not parts:
            return np.empty(0, np.int64)
        positions = np.concatenate([found for found, _ in parts])
        if self.sort is None:
            return positions
        keys = pa.table({"key": pa.chunked_array([keys for _, keys in parts]), "position": positions})
        order = [("key", "descending" if self.descending else "ascending"), ("position", "ascending")]
        sorted_positions: npt.NDArray[np.int64] = positions[pc.sort_indices(keys, sort_keys=order).to_numpy()]
        return sorted_positions

    def _mask(
        self, batch: pa.RecordBatch, searched: Sequence[FlatColumn], hits: npt.NDArray[np.bool_] | None
    ) -> pa.Array:
        mask = pa.array(np.ones(batch.num_rows, bool))
        for condition in self.conditions:
            mask = pc.and_(mask, condition.mask(batch))
        if self.search:
            found = pa.array(np.zeros(batch.num_rows, bool) if hits is None else hits)
            for column in searched:
                hit = pc.match_substring(as_text(column.of(batch)), self.search, ignore_case=True)
                found = pc.or_(found, pc.fill_null(hit, False))
            mask = pc.and_(mask, found)
        return mask


def _searched(table: ResultsTable) -> list[FlatColumn]:
    return [
        column for column in table.columns.values()
        if column.path[0] not in NOT_SEARCHED and (column.as_json or _is_text(column.type))
    ]  # fmt: skip


def parsed(
    columns: Mapping[str, FlatColumn], by_number: ByNumber, *, search: str = "", filters: Sequence[str] = (),
    contains: Sequence[str] = (), sort: str = "",
) -> Query:  # fmt: skip
    """The query of a page's address. A column whose text `by_number` reads as numbers is sorted, and compared by `>`
    and its like, by them.

    Raises QueryError naming a column that is not there, a value that cannot be.
    """
    conditions = [_condition(columns, by_number, told) for told in filters]
    conditions += [_condition(columns, by_number, told, contains=True) for told in contains]
    descending = sort.startswith("-") and sort not in columns
    name = sort[1:] if descending else sort
    return Query(search, tuple(conditions), by_number(_column(columns, name)) if name else None, descending)


def _condition(
    columns: Mapping[str, FlatColumn], by_number: ByNumber, told: str, *, contains: bool = False
) -> Condition:
    column, value = split_filter(columns, told)
    negated = column is None and told.startswith("-")
    if negated:
        column, value = split_filter(columns, told[1:])
    if column is None:
        if ":" not in told:
            raise QueryError(
                f"{told!r} is no filter", where="filter", hint="write COLUMN:VALUE, such as status:ok or -status:ok"
            )
        _column(columns, told.removeprefix("-").partition(":")[0])
        raise AssertionError(told)
    if not contains and _compares(value):
        column = by_number(column)
    if not contains and not column.as_json and value:
        _refuse_value(column, value)
    return Condition(column, value, negated, contains)


def _compares(value: str) -> bool:
    """Whether a filter's value is a comparison with a number."""
    try:
        sign, _ = number_in(value)
    except (InvalidOperation, ValueError):
        return False
    return sign is not None


def split_filter(columns: Mapping[str, T], told: str) -> tuple[T | None, str]:
    """The column that a filter begins with, the longest where names hold colons too, and the value behind it."""
    at = len(told)
    while (at := told.rfind(":", 0, at)) >= 0:
        if told[:at] in columns:
            return columns[told[:at]], told[at + 1 :]
    return None, ""


def _refuse_value(column: FlatColumn, value: str) -> None:
    if pa.types.is_boolean(column.type) and value.lower() not in ("true", "false"):
        raise QueryError(
            f"{value!r} is neither true nor false", where=f"filter {column.name}", hint="write one of them"
        )
    if _is_number(column.type):
        try:
            number_in(value)
        except (InvalidOperation, ValueError):
            raise QueryError(
                f"{value!r} is no number", where=f"filter {column.name}", hint="write a number, or >5, <=0.01"
            ) from None


def number_in(text: str) -> tuple[str | None, Decimal]:
    """A comparison's sign and its number. Raises ValueError, InvalidOperation."""
    told = _NUMBER.fullmatch(text.strip())
    if told is None or not (number := Decimal(told["value"])).is_finite():
        raise ValueError(text)
    return told["sign"], number


def _column(columns: Mapping[str, FlatColumn], name: str) -> FlatColumn:
    if name not in columns:
        from difflib import get_close_matches

        near = get_close_matches(name, columns, 3)
        raise QueryError(
            f"there is no column {name!r}", where="columns", hint=f"did you mean {', '.join(near)}?" if near else
            f"there are {', '.join(list(columns)[:20])}",
        )  # fmt: skip
    return columns[name]


def as_text(values: pa.Array) -> pa.Array:
    """Values as the text that they are searched by."""
    if _is_text(values.type):
        return values.cast(pa.string())
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), pa.string())
    if pa.types.is_decimal(values.type):
        return plain_decimals(values)
    try:
        return values.cast(pa.string())
    except pa.ArrowException:
        plain = python_values(values)
        return pa.array([None if value is None else str(value) for value in plain], pa.string())


def sort_key(values: pa.Array) -> pa.Array:
    """Values in a form that can be sorted."""
    type_ = values.type
    sortable = pa.types.is_boolean(type_) or _is_number(type_) or pa.types.is_temporal(type_)
    if sortable and not (pa.types.is_float16(type_) or pa.types.is_interval(type_)):
        return values
    return as_text(values)


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))
