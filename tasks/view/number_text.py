"""Number text: columns of text that read as numbers as a whole, as those of a CSV file do, by their value.

A column in which one cell is no number is text. So is one that could be read in two ways, such as `1,234` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.tasks.output.flat_columns import FlatColumn
from rowmill.tasks.view.table import ResultsTable


class Form(StrEnum):
    """How numbers are written, as a pattern of one."""

    PLAIN = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
    COMMA_FOR_POINT = r"^\s*[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]+)?\s*$"
    COMMA_FOR_THOUSANDS = r"^\s*[+-]?([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]+)?\s*$"


@dataclass(frozen=True, slots=True)
class NumberText(FlatColumn):
    """A column of text by its numbers."""

    form: Form = Form.PLAIN

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        """Doubles; null where the text is null or blank."""
        # Not super(): a dataclass with slots is another class than the one that is being made here.
        texts = pc.utf8_trim_whitespace(FlatColumn.of(_as_text(self), batch).cast(pa.string()))
        if self.form is not Form.PLAIN:
            grouping, point = (".", ",") if self.form is Form.COMMA_FOR_POINT else (",", ".")
            texts = pc.replace_substring(pc.replace_substring(texts, grouping, ""), point, ".")
        texts = pc.replace_substring_regex(texts, r"^\+", "")
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts).cast(pa.float64())


def _as_text(column: FlatColumn) -> FlatColumn:
    return FlatColumn(column.name, column.path, pa.string(), column.as_json)


def read_as_numbers(table: ResultsTable, column: FlatColumn) -> FlatColumn:
    """The column by its numbers where all of it reads as such; the column itself where not. Raises DamageError."""
    if column.as_json or not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    forms, some = set(Form), False

    def look(_: int, batch: pa.RecordBatch) -> tuple[set[Form], bool]:
        texts = column.of(batch).cast(pa.string())
        texts = texts.filter(pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(texts), ""), False))
        met = {one for one in Form if pc.all(pc.match_substring_regex(texts, one.value), min_count=0).as_py()}
        return met, len(texts) > 0

    for met, has_text in table.scan([column], look):
        forms, some = forms & met, some or has_text
        if not forms:
            return column
    if not some or not (Form.PLAIN in forms or len(forms) == 1):
        return column
    form = Form.PLAIN if Form.PLAIN in forms else forms.pop()
    return NumberText(column.name, column.path, pa.float64(), column.as_json, form)
