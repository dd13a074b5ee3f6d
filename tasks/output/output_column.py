"""Output column: accepted answers → the `output` column.

Where the fields of an object are plain (texts, numbers, truth), the answers of a batch are read in one piece and become
columns field by field. Whatever that does not hold exactly as it is told goes answer by answer, which decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from rowmill.schemas.output_schema import BOOLEAN, INTEGER, NUMBER, STRING, Shape
from rowmill.tasks.answers.validator import output_value

# How msgspec reads a plain field; a number's digits are looked at as they are told.
_PLAIN: dict[int, Any] = {
    id(STRING): str | None,
    id(INTEGER): int | float | None,
    id(NUMBER): int | float | None,
    id(BOOLEAN): bool | None,
}


def output_column(texts: Sequence[str | None], type_: pa.DataType, shape: Shape | None) -> pa.Array:
    """The column of these answers; without a shape they are texts themselves. Raises ShapeError for one that the type
    cannot hold.
    """
    if shape is None:
        return pa.array(texts, type_)
    read = _plain_reader(shape)
    if read is not None and texts and (found := read(texts)) is not None:
        return found
    return pa.array([None if text is None else output_value(text, shape) for text in texts], type_)


@lru_cache(maxsize=16)
def _plain_reader(shape: Shape) -> Callable[[Sequence[str | None]], pa.Array | None] | None:
    """Reads answers whose fields are all plain; None for another shape."""
    if not shape.fields or any(id(field) not in _PLAIN for _, field in shape.fields):
        return None
    places = {name: f"field{at}" for at, (name, _) in enumerate(shape.fields)}
    try:
        row = msgspec.defstruct(
            "Row",
            [(places[name], _PLAIN[id(field)], None) for name, field in shape.fields],
            rename={place: name for name, place in places.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
    except ValueError:
        # A field's name has a quotation mark, a backslash or the like.
        return None
    decode = msgspec.json.Decoder(list[row | None]).decode  # type: ignore[valid-type]
    fields, empty = list(shape.type), row()

    def read(texts: Sequence[str | None]) -> pa.Array | None:
        try:
            rows = decode("[" + ",".join(["null" if text is None else text for text in texts]) + "]")
            if len(rows) != len(texts):
                return None
            is_null = [one is None for one in rows]
            held = rows if not any(is_null) else [empty if one is None else one for one in rows]
            columns = [_column(list(map(attrgetter(places[name]), held)), field) for name, field in shape.fields]
        except (msgspec.MsgspecError, pa.ArrowException, ValueError, OverflowError, RecursionError):
            return None
        if len(columns) < len(fields):
            # What the schema does not name: none of these answers has any.
            columns.append(pa.nulls(len(rows), fields[-1].type))
        return pa.StructArray.from_arrays(columns, fields=fields, mask=pa.array(is_null))

    return read


def _column(values: list[Any], field: Shape) -> pa.Array:
    """Values of a plain field as a column. Raises ValueError and its like for what has to be looked at one by one."""
    if field is INTEGER and float in set(map(type, values)):
        raise ValueError("JSON Schema calls 3.0 an integer")
    if field is NUMBER and int in set(map(type, values)):
        values = [None if value is None else NUMBER.convert(value) for value in values]
    return pa.array(values, field.type)
