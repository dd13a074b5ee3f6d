"""Kept columns: read again from the input when results are written, so that they pass through nothing on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from rowmill.schemas.errors import InputError
from rowmill.schemas.file_state import FileState
from rowmill.schemas.kept_values import kept_or_null
from rowmill.schemas.row import Cursor, Shard
from rowmill.tasks.input.arrow_cast import cast
from rowmill.tasks.input.files import InputFile, Line, name_of
from rowmill.tasks.input.formats import lines, state_of, typed_of
from rowmill.tasks.input.jsonl import columns_of_line
from rowmill.tasks.input.kept_types import is_typed
from rowmill.tasks.input.shard_cut import digest_of

BATCH_ROWS = 1_024
# The kept columns of some rows, given by their positions in the whole input, which ascend from call to call.
Pick = Callable[[Sequence[int]], pa.Table]


class KeptColumns:
    """The kept columns of an input, under the types of the results."""

    def __init__(
        self,
        files: Sequence[InputFile],
        types: Mapping[str, pa.DataType],
        *,
        file_rows: Mapping[str, int],
        states: Sequence[FileState],
        max_line_bytes: int,
    ) -> None:
        """`file_rows` are the rows that a survey met in each file, `states` the files' as it found them."""
        self.types = types
        self._files, self._file_rows = list(files), file_rows
        self._states, self._max_line_bytes = list(states), max_line_bytes
        self._as_arrow = is_typed(files)

    def of(self, shard: Shard) -> Pick:
        """A way to the kept columns of a shard's rows. Raises InputError where these rows are not there any more."""
        if not self.types:
            return lambda _: pa.table({})
        self._refuse_changed(shard)
        batches = self._batches(shard)
        window = pa.table({name: pa.nulls(0, type_) for name, type_ in self.types.items()})
        first = shard.first_row

        def pick(rows: Sequence[int]) -> pa.Table:
            nonlocal window, first
            while first + window.num_rows <= rows[-1]:
                passed = min(rows[0] - first, window.num_rows)
                window, first = pa.concat_tables([window.slice(passed), next(batches)]), first + passed
            window, first = window.slice(rows[0] - first), rows[0]
            if rows[-1] - rows[0] + 1 == len(rows):
                return window.slice(0, len(rows))
            return window.take([row - first for row in rows])

        return pick

    def _refuse_changed(self, shard: Shard) -> None:
        at = self._place(shard.start)
        try:
            if [state_of(file) for file in self._files[at:]] == self._states[at:]:
                return
            digest = digest_of(shard, self._files, self._max_line_bytes)
        except OSError as error:
            raise _changed(shard, error.strerror or str(error)) from None
        if digest != shard.digest:
            raise _changed(shard, "it holds other rows now")

    def _place(self, start: Cursor) -> int:
        return [name_of(file) for file in self._files].index(start.file)

    def _batches(self, shard: Shard) -> Iterator[pa.Table]:
        """All rows of the shard, some at a time."""
        left, start = shard.rows, shard.start
        for file in self._files[self._place(start) :]:
            rows = min(left, self._file_rows[name_of(file)] - start.line)
            yield from self._arrow(file, start, rows) if self._as_arrow else self._values(file, start, rows)
            left -= rows
            if not left:
                return
            start = Cursor("", 0, 0)

    def _arrow(self, file: InputFile, start: Cursor, rows: int) -> Iterator[pa.Table]:
        typed = typed_of(file)
        assert typed is not None
        for batch in typed.columns(file, start.line, rows, names=list(self.types)):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield pa.table(
                {
                    name: cast(columns[name], type_) if name in columns else pa.nulls(batch.num_rows, type_)
                    for name, type_ in self.types.items()
                }
            )
            rows -= batch.num_rows
        if rows:
            # The file lacks all of these columns, or cannot be read further: its last row tells it.
            yield pa.table({name: pa.nulls(rows, type_) for name, type_ in self.types.items()})

    def _values(self, file: InputFile, start: Cursor, rows: int) -> Iterator[pa.Table]:
        found = islice(lines(file, start, self._max_line_bytes), rows)
        while few := [_columns(line) for line in islice(found, BATCH_ROWS)]:
            yield pa.table(
                {
                    name: pa.array([kept_or_null(columns.get(name), type_) for columns in few], type_)
                    for name, type_ in self.types.items()
                }
            )


def _columns(line: Line) -> Mapping[str, Any]:
    if line.problem is not None:
        return {}
    return line.columns or columns_of_line(line)[0] or {}


def _changed(shard: Shard, what: str) -> InputError:
    return InputError(
        f"the input changed while the run was reading it: {what}",
        where=shard.start.file,
        hint="run the same command again: what was answered stands",
    )
