"""Kept types: the Arrow type under which a kept column stands in the results, one for all files of an input."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types as of

from rowmill.schemas.errors import InputError
from rowmill.schemas.kept_values import EXACT_IN_DOUBLE, KeepTypes
from rowmill.tasks.input.arrow_cast import cast, is_list
from rowmill.tasks.input.files import InputFile, name_of
from rowmill.tasks.input.formats import Typed, typed_of

_KINDS: tuple[Callable[[pa.DataType], bool], ...] = (
    lambda type_: of.is_string(type_) or of.is_large_string(type_) or of.is_string_view(type_),
    lambda type_: (
        of.is_binary(type_) or of.is_large_binary(type_) or of.is_binary_view(type_) or of.is_fixed_size_binary(type_)
    ),
    lambda type_: of.is_integer(type_) or of.is_floating(type_),
    lambda type_: of.is_integer(type_) or of.is_decimal(type_),
    lambda type_: of.is_timestamp(type_),
    lambda type_: of.is_time(type_),
    lambda type_: of.is_duration(type_),
)


def is_typed(files: Sequence[InputFile]) -> bool:
    """Whether the kept columns of an input travel as Arrow: all its files have typed columns."""
    return bool(files) and all(typed_of(file) is not None for file in files)


def column_names(file: InputFile) -> list[str]:
    """The columns of a typed file, in its order; one that stands twice stands here twice."""
    names: list[str] = _typed(file).schema(file).names
    return names


def kept_types(files: Sequence[InputFile], names: Sequence[str], met: KeepTypes) -> dict[str, pa.DataType]:
    """The types of these columns: what typed files state, unified where they differ, else what values were `met`.

    Raises InputError naming file, column and both types where no type holds the values of all files unchanged.
    """
    if not is_typed(files):
        return met.arrow(list(names))
    schemas = [(file, _typed(file).schema(file)) for file in files] if names else []
    return {name: _unified(name, schemas) for name in names}


def may_widen(met: KeepTypes, name: str, column: pa.ChunkedArray) -> bool:
    """Whether a value of a JSON column that was kept before may widen its type."""
    had = met.kinds.get(name, "null")
    if had == "text" or column.null_count == len(column):
        return False
    if had == "int" and of.is_int64(column.type):
        span = pc.min_max(column)
        return not all(span[end].as_py() in EXACT_IN_DOUBLE for end in ("min", "max"))
    # A column of doubles may hold whole numbers, which widen nothing where one with a fraction was met.
    return had == "null" or not column.type.equals(met.arrow([name])[name])


def _typed(file: InputFile) -> Typed:
    typed = typed_of(file)
    assert typed is not None
    return typed


def _unified(name: str, schemas: Sequence[tuple[InputFile, pa.Schema]]) -> pa.DataType:
    found: list[tuple[InputFile, pa.DataType]] = []
    for file, schema in schemas:
        if schema.names.count(name) > 1:
            raise InputError(
                f"the column {name!r} stands {schema.names.count(name)} times in this file, so it cannot be kept",
                where=name_of(file),
                hint=f"rename one of them, or drop {name!r} from keep",
            )
        if name in schema.names:
            found.append((file, schema.field(name).type))
    if not found:
        return pa.null()
    first, type_ = found[0]
    for file, other in found[1:]:
        merged = merged_type(type_, other)
        if merged is None:
            raise _drifted(name, (first, type_), (file, other), reason="no type holds both unchanged")
        first, type_ = (file if of.is_null(type_) else first), merged
    for file, other in found:
        if other != type_ and (reason := _cannot_hold(file, name, type_)) is not None:
            raise _drifted(name, next(one for one in found if one[1] != other), (file, other), reason=reason)
    return _writable(name, type_, first)


def merged_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both kinds, by Arrow's rules within one kind of type; None for none.

    Whether a value is in the way (an integer that no double holds) is not decided here.
    """
    if one.equals(other):
        return one
    if of.is_null(one) or of.is_null(other):
        return other if of.is_null(one) else one
    if of.is_dictionary(one) or of.is_dictionary(other):
        return merged_type(*(type_.value_type if of.is_dictionary(type_) else type_ for type_ in (one, other)))
    if of.is_struct(one) and of.is_struct(other):
        return _merged_struct(one, other)
    if of.is_map(one) and of.is_map(other):
        key, item = merged_type(one.key_type, other.key_type), merged_type(one.item_type, other.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if is_list(one) and is_list(other):
        inner = merged_type(one.value_type, other.value_type)
        large = of.is_large_list(one) or of.is_large_list(other)
        return None if inner is None else pa.large_list(inner) if large else pa.list_(inner)
    if not any(is_kind(one) and is_kind(other) for is_kind in _KINDS):
        return None
    try:
        pair = [pa.schema([("column", type_)]) for type_ in (one, other)]
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def _merged_struct(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    fields = {field.name: field.type for field in one}
    if len(fields) < one.num_fields:
        return None
    for field in other:
        merged = merged_type(fields.get(field.name, pa.null()), field.type)
        if merged is None:
            return None
        fields[field.name] = merged
    return pa.struct(list(fields.items()))


def _cannot_hold(file: InputFile, name: str, type_: pa.DataType) -> str | None:
    """Why the values of a file's column cannot become this type unchanged; None where they can."""
    try:
        for batch in _typed(file).columns(file, 0, _typed(file).rows(file), names=[name]):
            cast(batch.column(batch.schema.get_field_index(name)), type_)
    except (pa.ArrowException, ValueError) as error:
        return str(error).splitlines()[0]
    return None


def _writable(name: str, type_: pa.DataType, file: InputFile) -> pa.DataType:
    """The type, where Parquet gives it back as it is."""
    try:
        sink = io.BytesIO()
        pq.ParquetWriter(sink, pa.schema([(name, type_)])).close()
        read = pq.read_schema(io.BytesIO(sink.getvalue())).field(0).type
    except (pa.ArrowException, ValueError, OSError) as error:
        # Arrow raises the last for a fixed size of no bytes.
        reason = str(error).splitlines()[0]
    else:
        if read.equals(type_):
            return type_
        reason = f"Parquet gives it back as {read}"
    raise InputError(
        f"the column {name!r} cannot be kept as {type_}: {reason}",
        where=name_of(file),
        hint=f"convert it, or drop {name!r} from keep",
    )


def _drifted(
    name: str, first: tuple[InputFile, pa.DataType], other: tuple[InputFile, pa.DataType], *, reason: str
) -> InputError:
    return InputError(
        f"the column {name!r} is {other[1]} here and {first[1]} in {first[0]}: {reason}",
        where=str(other[0]),
        hint=f"write both files with one type, or drop {name!r} from keep",
    )
