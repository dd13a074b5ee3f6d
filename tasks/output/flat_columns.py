"""Flat columns: the results as a table of plain cells. A field of `output` is a column named by its path."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite, isnan
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.schemas.json_text import encode_json
from rowmill.schemas.kept_values import distinct_names
from rowmill.tasks.output.python_values import python_values


@dataclass(frozen=True, slots=True)
class FlatColumn:
    """A column of the table: its name, the path of the value it holds, and its type there.

    What has no plain cell (lists, maps, structs without fields) is told as JSON text.
    """

    name: str
    path: tuple[str, ...]
    type: pa.DataType
    as_json: bool = False

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        """Its values in a batch of results; nulls where the batch has no such column."""
        values = _at(batch, self.path)
        if values is None:
            return pa.nulls(batch.num_rows, self.type)
        if self.as_json:
            return _as_json(values)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if values.type == self.type:
            return values
        return plain_decimals(values) if pa.types.is_decimal(values.type) and self.is_text else values.cast(self.type)

    @property
    def is_text(self) -> bool:
        return bool(pa.types.is_string(self.type) or pa.types.is_large_string(self.type))


def flat_columns(schemas: Iterable[pa.Schema]) -> list[FlatColumn]:
    """The columns of a table that holds parts of these schemas, in their order; types widened to hold all of them.

    Names are unique: a path whose name is taken, as by an input column `output.n`, is told as `output["n"]`.
    """
    found: dict[tuple[str, ...], FlatColumn] = {}
    taken: set[str] = set()
    schemas = list(schemas)
    for schema in schemas:
        # Columns of the results themselves keep their names.
        taken.update(schema.names)
    for schema in schemas:
        for field in schema:
            for path, type_, as_json in _leaves((field.name,), field.type):
                if (known := found.get(path)) is not None:
                    found[path] = _widened(known, type_, as_json=as_json)
                    continue
                name = _name(path, taken)
                taken.add(name)
                found[path] = FlatColumn(name, path, type_, as_json)
    return list(found.values())


def flat_schema(columns: Iterable[FlatColumn]) -> pa.Schema:
    return pa.schema([(column.name, column.type) for column in columns])


def flat_batch(batch: pa.RecordBatch, columns: Iterable[FlatColumn]) -> pa.RecordBatch:
    """A batch of results as cells."""
    columns = list(columns)
    return pa.RecordBatch.from_arrays([column.of(batch) for column in columns], schema=flat_schema(columns))


def _leaves(path: tuple[str, ...], type_: pa.DataType) -> Iterator[tuple[tuple[str, ...], pa.DataType, bool]]:
    if pa.types.is_struct(type_) and type_.num_fields:
        for name, field in zip(distinct_names(type_.names), type_, strict=True):
            yield from _leaves((*path, name), field.type)
    elif pa.types.is_nested(type_):
        yield path, pa.string(), True
    else:
        yield path, type_.value_type if pa.types.is_dictionary(type_) else type_, False


def _name(path: tuple[str, ...], taken: set[str]) -> str:
    if len(path) == 1:
        return path[0]
    dotted = ".".join(path)
    if dotted not in taken:
        return dotted
    return path[0] + "".join(f"[{encode_json(step).decode()}]" for step in path[1:])


def _widened(known: FlatColumn, type_: pa.DataType, *, as_json: bool) -> FlatColumn:
    """A column that holds values of this type too: as text where the two have no type in common."""
    if known.as_json or as_json:
        return FlatColumn(known.name, known.path, pa.string(), as_json=True)
    fields = [pa.schema([("v", one)]) for one in (known.type, type_)]
    try:
        common = pa.unify_schemas(fields, promote_options="permissive").field("v").type
    except pa.ArrowException:
        common = pa.string()
    return FlatColumn(known.name, known.path, common)


def _at(batch: pa.RecordBatch, path: tuple[str, ...]) -> pa.Array | None:
    if path[0] not in batch.schema.names:
        return None
    values = batch.column(path[0])
    for step in path[1:]:
        names = distinct_names(values.type.names) if pa.types.is_struct(values.type) else []
        if step not in names:
            return None
        values = pc.struct_field(values, [names.index(step)])
    return values


def _as_json(values: pa.Array) -> pa.Array:
    return pa.array([None if one is None else json_of(one).decode() for one in python_values(values)], pa.string())


def plain_decimals(values: pa.Array) -> pa.Array:
    """Decimals as text with all their places and never an exponent, which Arrow writes for 0 (0E-12) and 0.0000001."""
    texts = values.cast(pa.string())
    with_exponent = pc.fill_null(pc.match_substring(texts, "E"), False)
    if not pc.any(with_exponent).as_py():
        return texts
    # A column of money holds the same small sums again and again, most of all nothing.
    known = texts.filter(with_exponent).unique()
    plain = pa.array([format(Decimal(text), "f") for text in known.to_pylist()], pa.string())
    return pc.if_else(with_exponent, plain.take(pc.index_in(texts, known)), texts)


def json_of(value: Any) -> bytes:
    """A value as JSON text."""
    text = encode_json(value)
    # What has neither is told as it is: a list of many numbers is not walked through.
    return encode_json(told(value)) if b"null" in text or b'"' in text else text


def told(value: Any) -> Any:
    """A value as JSON tells it: decimals as text without an exponent, what is no number as text, as in ProtoJSON:
    NaN, Infinity, -Infinity; whatever they are nested in.
    """
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: told(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [told(one) for one in value]
    return value


def plain_value(value: Any) -> Any:
    """A cell as JSON holds it: times as ISO text, bytes as base64; numbers, text and decimals as they are."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value
