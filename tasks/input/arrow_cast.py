"""Casts: an Arrow array under another type that holds its values, also where Arrow's own cast miscounts them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as of


def cast(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """An array under another type, each value as it was. Raises ArrowException, ValueError where one would change."""
    if array.type.equals(type_):
        return array
    if of.is_struct(type_) and of.is_struct(array.type):
        # By name: a field that is not there is null.
        columns = dict(zip(array.type.names, array.flatten(), strict=True))
        made = [
            cast(columns[field.name], field.type) if field.name in columns else pa.nulls(len(array), field.type)
            for field in type_
        ]
        return pa.StructArray.from_arrays(made, fields=list(type_), mask=array.is_null())
    if is_list(array.type) and (of.is_list(type_) or of.is_large_list(type_)):
        return _lists(array, type_)
    return array.cast(type_)


def is_list(type_: pa.DataType) -> bool:
    """Whether a type holds lists, one after the other."""
    return any(is_kind(type_) for is_kind in (of.is_list, of.is_large_list, of.is_fixed_size_list))


def _lists(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Lists with their values cast. Arrow's own forgets where a slice ends when nulls lie below a list."""
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    if not pc.sum(lengths).as_py():
        # Nothing to cast, and an empty array of values cannot be made of every type.
        return array.cast(type_)
    kind, offset = (pa.ListArray, pa.int32()) if of.is_list(type_) else (pa.LargeListArray, pa.int64())
    ends = pc.cumulative_sum(lengths.cast(offset))
    offsets = pa.concat_arrays([pa.array([0], offset), ends])
    return kind.from_arrays(offsets, cast(array.flatten(), type_.value_type), type=type_, mask=array.is_null())
