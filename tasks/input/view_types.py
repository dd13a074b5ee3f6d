"""View types: Arrow's string_view and binary_view, a layout in memory for values that Parquet knows as text and bytes.

Arrow can neither take nor filter such columns, and its Parquet writer cannot slice them within a struct. polars writes
them into Arrow files. They are read as large_string and large_binary, whose values are the same, so that nothing behind
the reader meets them.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pyarrow import types as of

from rowmill.tasks.input.arrow_cast import cast


def type_without_views(type_: pa.DataType) -> pa.DataType:
    """The type that holds the same values without a view in it; the type itself where there is none."""
    if of.is_string_view(type_):
        return pa.large_string()
    if of.is_binary_view(type_):
        return pa.large_binary()
    if of.is_dictionary(type_):
        inner = type_without_views(type_.value_type)
        return type_ if inner is type_.value_type else pa.dictionary(type_.index_type, inner, type_.ordered)
    make = next((make for is_kind, make in _NESTED if is_kind(type_)), None)
    if make is None:
        return type_
    fields = [type_.field(at) for at in range(type_.num_fields)]
    plain = [field.with_type(type_without_views(field.type)) for field in fields]
    return type_ if plain == fields else make(type_, plain)


# Arrow casts no list views, unions and run-end encoded columns, and Parquet holds none: these stay as they are.
_NESTED: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType, list[pa.Field]], pa.DataType]], ...] = (
    (of.is_struct, lambda _, fields: pa.struct(fields)),
    (of.is_map, lambda type_, fields: pa.map_(*fields[0].type.fields, type_.keys_sorted)),
    (of.is_fixed_size_list, lambda type_, fields: pa.list_(fields[0], type_.list_size)),
    (of.is_list, lambda _, fields: pa.list_(fields[0])),
    (of.is_large_list, lambda _, fields: pa.large_list(fields[0])),
)


def schema_without_views(schema: pa.Schema) -> pa.Schema:
    """The schema whose columns hold the same values without a view in them."""
    fields = [field.with_type(type_without_views(field.type)) for field in schema]
    return pa.schema(fields, schema.metadata)


def batch_without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with its views laid out as text and bytes; the batch itself where there is none."""
    schema = schema_without_views(batch.schema)
    if schema.equals(batch.schema):
        return batch
    columns = [
        column if column.type.equals(field.type) else cast(column, field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
