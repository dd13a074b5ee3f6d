"""pandas frames: results as pandas holds them without turning a whole number into a double."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import pandas as pd

# pandas' own types for whole numbers, and truths, of which some are missing.
_NULLABLE: dict[str, Any] = {f"{sign}Int{bits}": f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
_NULLABLE |= {"Boolean": "boolean"}


def pandas_of(frame: pl.DataFrame, index: pd.Index | None = None) -> pd.DataFrame:
    """The same rows in pandas: Int64 and its like where a whole number is missing, within objects None.

    `index` labels them, from its beginning.
    """
    found = frame.to_pandas(integer_object_nulls=True)
    for name, type_ in frame.schema.items():
        if frame[name].null_count() and (nullable := _NULLABLE.get(str(type_))):
            found[name] = found[name].astype(nullable)
    if index is not None:
        found.index = index[: len(found)]
    return found
