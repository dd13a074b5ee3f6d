"""Polars arrays: columns that polars cannot hold, in a type that it can; each value says the same.

Kept columns have any type of the input's. A schema with a time zone that polars does not know (those of a fixed offset,
as pandas and Python write them, among them) ends polars even where the column is not asked for.
"""

from __future__ import annotations

import json
from functools import lru_cache
from zoneinfo import available_timezones

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as of

from rowmill.schemas.kept_values import distinct_names
from rowmill.tasks.output.python_values import python_values

DIGITS_MOST = 38


def polars_table(columns: pa.RecordBatch | pa.Schema) -> pa.Table:
    """Columns as polars can hold them; those of a schema without rows. Fields of one name are told apart."""
    if isinstance(columns, pa.Schema):
        return pa.table({field.name: _plain(pa.nulls(0, field.type)) for field in columns})
    return pa.table({name: _plain(column) for name, column in zip(columns.schema.names, columns.columns, strict=True)})


def _polars_type(type_: pa.DataType) -> pa.DataType:
    return _plain(pa.nulls(0, type_)).type


def _plain(array: pa.Array) -> pa.Array:
    type_ = array.type
    if "list_view<" in str(type_) and "extension<" in str(type_):
        # Arrow cannot take the values of extension types out of views.
        return _as_json(array)
    if of.is_timestamp(type_) and type_.tz is not None and type_.tz not in _zones():
        # Whatever the zone, an instant is kept in UTC.
        return array.cast(pa.timestamp(type_.unit, "UTC"))
    if of.is_decimal(type_) and type_.precision > DIGITS_MOST:
        return array.cast(pa.string())
    if of.is_dictionary(type_):
        words = _plain(array.dictionary)
        return array if words.type.equals(type_.value_type) else _plain(array.dictionary_decode())
    if of.is_struct(type_):
        return _struct(array)
    if of.is_map(type_):
        plain = all(_polars_type(one).equals(one) for one in (type_.key_type, type_.item_type))
        return array if plain and not of.is_nested(type_.key_type) else _as_json(array)
    if of.is_list_view(type_) or of.is_large_list_view(type_):
        return _lists(array, _plain(array.flatten()))
    if of.is_list(type_) or of.is_large_list(type_) or of.is_fixed_size_list(type_):
        values = array.flatten()
        plain = _plain(values)
        return array if plain.type.equals(values.type) else _lists(array, plain)
    return array


def _struct(array: pa.Array) -> pa.Array:
    fields = [_plain(field) for field in array.flatten()]
    names = distinct_names(array.type.names)
    same = names == array.type.names
    if not fields or (same and all(one.type.equals(field.type) for one, field in zip(fields, array.type, strict=True))):
        return array
    return pa.StructArray.from_arrays(fields, names, mask=array.is_null())


def _lists(array: pa.Array, values: pa.Array) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64())
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    return pa.LargeListArray.from_arrays(offsets, values, mask=array.is_null())


def _as_json(array: pa.Array) -> pa.Array:
    told = python_values(array)
    texts = [None if one is None else json.dumps(one, default=str, ensure_ascii=False) for one in told]
    return pa.array(texts, pa.string())


@lru_cache(1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
