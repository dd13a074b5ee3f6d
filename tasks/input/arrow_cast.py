"""Casts: an Arrow array under another type that holds its values, also where Arrow's own cast miscounts them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as of


def cast(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """An array under another type, each value as it was. Raises ArrowException, ValueError where one would change."""
    if array.type.equals(type_) and not has_null_words(array):
        return array
    if of.is_dictionary(type_) and of.is_dictionary(array.type):
        return array.dictionary_decode().dictionary_encode().cast(type_)
    if of.is_fixed_size_list(type_) and array.type.equals(type_):
        size = type_.list_size
        values = array.values.slice(array.offset * size, len(array) * size)
        return pa.FixedSizeListArray.from_arrays(cast(values, type_.value_type), type=type_, mask=array.is_null())
    if of.is_map(type_) and of.is_map(array.type):
        return _maps(array, type_)
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


def has_null_words(array: pa.Array) -> bool:
    """Whether a dictionary has null among its words, which Parquet cannot write: a row that names it is null."""
    type_ = array.type
    if of.is_dictionary(type_):
        return bool(array.dictionary.null_count) or has_null_words(array.dictionary)
    if not of.is_nested(type_) or "dictionary<" not in str(type_):
        return False
    if of.is_struct(type_):
        return any(has_null_words(array.field(at)) for at in range(type_.num_fields))
    if of.is_map(type_):
        return has_null_words(array.keys) or has_null_words(array.items)
    return is_list(type_) and has_null_words(array.values)


def is_list(type_: pa.DataType) -> bool:
    """Whether a type holds lists, one after the other."""
    return any(is_kind(type_) for is_kind in (of.is_list, of.is_large_list, of.is_fixed_size_list))


def _maps(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Maps with their keys and values cast."""
    entries = array.cast(pa.list_(pa.struct([array.type.key_field, array.type.item_field])))
    lengths = pc.fill_null(pc.list_value_length(entries), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
    keys, items = entries.flatten().flatten()
    made = cast(keys, type_.key_type), cast(items, type_.item_type)
    return pa.MapArray.from_arrays(offsets, *made, type=type_, mask=array.is_null())


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
