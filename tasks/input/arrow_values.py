"""Arrow values → what a prompt, an id or a digest reads of them. Total: no column that a file can hold fails here."""

from __future__ import annotations

import math
import uuid
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as of

from rowmill.schemas.json_text import encode_json
from rowmill.schemas.kept_values import distinct_names

_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def batch_rows(batch: pa.RecordBatch) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The rows of a batch: their values as a prompt reads them, and bytes that tell any two different rows apart.

    Of columns that share one name the last is read; all of them are in the bytes.
    """
    names = batch.schema.names
    shown = [values(column) for column in batch.columns]
    exact = [
        told if _is_plain(column) else values(column, exact=True)
        for column, told in zip(batch.columns, shown, strict=True)
    ]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*shown, strict=True)] or [{}] * batch.num_rows
    if len(set(names)) < len(names):
        return rows, [encode_json(list(zip(names, row, strict=True))) for row in zip(*exact, strict=True)]
    if all(told is one for told, one in zip(shown, exact, strict=True)):
        return rows, [encode_json(row) for row in rows]
    return rows, [encode_json(dict(zip(names, row, strict=True))) for row in zip(*exact, strict=True)]


def values(array: pa.Array, *, exact: bool = False) -> list[Any]:
    """The values of an array as Python knows them.

    Bytes are their UTF-8 text, or base64 where they are none; a map is a dict, or pairs where a key stands twice;
    fields of a struct that share a name get numbers; what no Python type holds unchanged (nanoseconds, years beyond
    9999) is text. `exact` tells apart what JSON would make one: NaN and null, text and bytes, maps that differ in order
    or hold a key twice.
    """
    type_ = array.type
    if of.is_dictionary(type_):
        return values(array.dictionary_decode(), exact=exact)
    if isinstance(type_, pa.BaseExtensionType):
        if type_.extension_name == "arrow.uuid":
            return [None if one is None else str(uuid.UUID(bytes=one)) for one in array.storage.to_pylist()]
        return values(array.storage, exact=exact)
    for is_kind, convert in _NESTED:
        if is_kind(type_):
            return convert(array, exact)
    if of.is_floating(type_):
        return _floats(array, exact)
    if _is_binary(type_):
        found = array.to_pylist()
        return found if exact else [None if one is None else _text(one) for one in found]
    if _is_string(type_):
        return _strings(array)
    if of.is_temporal(type_):
        return _temporal(array)
    return array.to_pylist()  # type: ignore[no-any-return]


def _is_plain(array: pa.Array) -> bool:
    """Whether a prompt and the digest read the same of this column."""
    type_ = array.type
    if of.is_floating(type_):
        return pc.all(pc.is_finite(array.cast(pa.float64()))).as_py() is not False
    if of.is_dictionary(type_):
        type_ = type_.value_type
    return not (of.is_nested(type_) or _is_binary(type_) or isinstance(type_, pa.BaseExtensionType))


def _is_binary(type_: pa.DataType) -> bool:
    kinds = (of.is_binary, of.is_large_binary, of.is_binary_view, of.is_fixed_size_binary)
    return any(is_kind(type_) for is_kind in kinds)


def _is_string(type_: pa.DataType) -> bool:
    return any(is_kind(type_) for is_kind in (of.is_string, of.is_large_string, of.is_string_view))


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return b64encode(content).decode()


def _strings(array: pa.Array) -> list[Any]:
    try:
        return array.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        # A writer that marks any bytes as text.
        return values(array.cast(pa.large_binary()))


def _floats(array: pa.Array, exact: bool) -> list[Any]:
    found = array.cast(pa.float64()).to_pylist()
    if not exact:
        return found  # type: ignore[no-any-return]
    return [one if one is None or math.isfinite(one) else {"float": str(one)} for one in found]


def _temporal(array: pa.Array) -> list[Any]:
    """Python's own types where they hold each value whole, else text, value by value.

    pyarrow would import pandas for nanoseconds, so they are never asked of it.
    """
    try:
        return array.cast(_in_microseconds(array.type)).to_pylist()  # type: ignore[no-any-return]
    except (pa.ArrowException, ValueError, OverflowError, LookupError):
        if len(array) == 1:
            return [_temporal_text(array)]
    return [_temporal(array.slice(at, 1))[0] if array[at].is_valid else None for at in range(len(array))]


def _in_microseconds(type_: pa.DataType) -> pa.DataType:
    if getattr(type_, "unit", "") != "ns":
        return type_
    if of.is_timestamp(type_):
        return pa.timestamp("us", type_.tz)
    return pa.duration("us") if of.is_duration(type_) else pa.time64("us")


def _temporal_text(array: pa.Array) -> str:
    type_ = array.type
    if of.is_interval(type_):
        return str(array[0])
    if of.is_duration(type_):
        count = array.cast(pa.int64())[0].as_py()
        digits = _UNITS[type_.unit]
        whole, part = divmod(abs(count), 10**digits)
        return f"{'-' if count < 0 else ''}PT{whole}{f'.{part:0{digits}d}' if part else ''}S"
    try:
        text = str(array.cast(pa.string())[0].as_py())
    except pa.ArrowException:
        # A time zone that this machine does not know.
        text = f"{array.cast(pa.timestamp(type_.unit)).cast(pa.string())[0].as_py()}Z"
    return text if not of.is_timestamp(type_) else text.replace(" ", "T", 1)


def _lists(array: pa.Array, exact: bool) -> list[Any]:
    lengths = pc.list_value_length(array)
    # Arrow cannot make an empty array of every type, as of lists of UUIDs, so none is asked for.
    flat = values(array.flatten(), exact=exact) if pc.sum(lengths).as_py() else []
    found: list[Any] = []
    at = 0
    for length in lengths.to_pylist():
        found.append(None if length is None else flat[at : at + length])
        at += length or 0
    return found


def _maps(array: pa.Array, exact: bool) -> list[Any]:
    offsets = array.offsets.to_pylist()
    first, size = offsets[0], offsets[-1] - offsets[0]
    keys = values(array.keys.slice(first, size), exact=exact)
    items = values(array.items.slice(first, size), exact=exact)
    found: list[Any] = []
    for at, is_valid in enumerate(array.is_valid().to_pylist()):
        here = slice(offsets[at] - first, offsets[at + 1] - first)
        pairs = list(zip(keys[here], items[here], strict=True)) if is_valid else None
        shown = None if exact or pairs is None else {_key(key): item for key, item in pairs}
        found.append(shown if shown is not None and len(shown) == len(pairs or ()) else pairs)
    return found


def _key(key: Any) -> str:
    return key if isinstance(key, str) else encode_json(key).decode().strip('"')


def _structs(array: pa.Array, exact: bool) -> list[Any]:
    names = array.type.names
    columns = [values(column, exact=exact) for column in array.flatten()]
    rows: list[Any] = list(zip(*columns, strict=True)) or [()] * len(array)
    is_told_apart = len(set(names)) == len(names)
    make: Callable[[Any], Any] = dict if is_told_apart or not exact else list
    names = names if exact else distinct_names(names)
    return [
        make(zip(names, row, strict=True)) if is_valid else None
        for row, is_valid in zip(rows, array.is_valid().to_pylist(), strict=True)
    ]


_NESTED: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array, bool], list[Any]]], ...] = (
    (of.is_map, _maps),
    (of.is_struct, _structs),
    (of.is_run_end_encoded, lambda array, exact: values(pc.run_end_decode(array), exact=exact)),
    (of.is_union, lambda array, exact: [None if one is None else str(one) for one in array.to_pylist()]),
    (
        lambda type_: (
            of.is_list(type_)
            or of.is_large_list(type_)
            or of.is_fixed_size_list(type_)
            or of.is_list_view(type_)
            or of.is_large_list_view(type_)
        ),
        _lists,
    ),
)
