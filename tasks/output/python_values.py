"""Python values: Arrow values as Python holds them; what it has no form for is told as text, and never an exception.

Fields that share a name, keys of maps that are structs or stand twice, years beyond 9999, nanoseconds (which pyarrow
makes values of pandas where that is installed, and refuses where not), time zones that nobody knows, text that is no
UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyarrow import types as of

from rowmill.schemas.kept_values import distinct_names

UNTOLD = (OverflowError, TypeError, ValueError, KeyError, pa.ArrowException)


def python_values(array: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values of a column; maps as dicts where their keys are text, each another one, else as lists of pairs."""
    if "[ns" not in str(array.type):
        try:
            return array.to_pylist(maps_as_pydicts="strict")  # type: ignore[no-any-return]
        except UNTOLD:
            pass
    return [_value(scalar) for scalar in array]


def python_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table, by the names of its columns."""
    columns = [python_values(column) for column in table.columns]
    for values in zip(*columns, strict=True):
        yield dict(zip(table.column_names, values, strict=True))


def _value(scalar: pa.Scalar) -> Any:
    type_ = scalar.type
    if not scalar.is_valid:
        return None
    if of.is_struct(type_):
        return {name: _value(scalar[at]) for at, name in enumerate(distinct_names(type_.names))}
    if of.is_map(type_):
        pairs = [(_value(entry[0]), _value(entry[1])) for entry in scalar.values]
        is_dict = all(isinstance(key, str) for key, _ in pairs) and len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs) if is_dict else [list(pair) for pair in pairs]
    if of.is_nested(type_):
        return [_value(part) for part in scalar.values]
    if isinstance(scalar, pa.ExtensionScalar | pa.DictionaryScalar):
        return _value(scalar.value)
    try:
        return _nanoseconds(scalar) if "[ns" in str(type_) else scalar.as_py()
    except UNTOLD:
        return _text(scalar)


def _nanoseconds(scalar: pa.Scalar) -> Any:
    """A time in nanoseconds as Python's where it has no part of a microsecond; else as text, a duration in seconds."""
    type_ = scalar.type
    whole, rest = divmod(scalar.value, 1_000)
    if of.is_duration(type_):
        return Decimal(scalar.value).scaleb(-9) if rest else pa.scalar(whole, pa.duration("us")).as_py()
    told = pa.scalar(whole, pa.timestamp("us", type_.tz) if of.is_timestamp(type_) else pa.time64("us")).as_py()
    if not rest:
        return told
    text = told.isoformat(timespec="microseconds")
    at = text.index(".") + len(".000000")
    return f"{text[:at]}{rest:03}{text[at:]}"


def _text(scalar: pa.Scalar) -> str:
    type_ = scalar.type
    if of.is_string(type_) or of.is_large_string(type_) or of.is_string_view(type_):
        return bytes(scalar.as_buffer()).decode("utf-8", "replace")
    if of.is_timestamp(type_) and type_.tz is not None:
        # Arrow tells no time in a zone that it does not know; the instant is in UTC.
        return f"{pa.scalar(scalar.value, pa.timestamp(type_.unit)).cast(pa.string())}Z"
    return str(scalar.cast(pa.string()))
