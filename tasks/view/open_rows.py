"""Open rows: what a run has settled of shards whose parts are not written yet, read from their journals as they grow.

The run is not disturbed: nothing is written beside it, nothing is locked, and a machine's time is used sparingly.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from rowmill.schemas.errors import RowmillError
from rowmill.schemas.job import Job
from rowmill.schemas.kept_values import kept_or_null
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.row import Row, Shard
from rowmill.schemas.tally import Tally
from rowmill.tasks.input.files import InputFile, name_of
from rowmill.tasks.input.formats import input_state, typed_of
from rowmill.tasks.input.kept_columns import KeptColumns, Pick
from rowmill.tasks.input.kept_types import is_typed
from rowmill.tasks.input.reader import job_files, shard_rows
from rowmill.tasks.input.survey import Survey
from rowmill.tasks.job.job_file import job_of
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.output.columns import columns_of, kept_names
from rowmill.tasks.output.layout import Layout, segments_in
from rowmill.tasks.output.part_columns import PartColumns
from rowmill.tasks.output.part_footer import PART_VERSION, Footer, tally_value
from rowmill.tasks.output.part_writer import BATCH_ROWS, write_part
from rowmill.tasks.plan.begun_labels import in_begun_order
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.label_prompt import as_asked

# Journals are looked at no more often, and for no more than this share of the time.
EVERY_S, SHARE = 1.0, 0.1
State = tuple[int, int, int]


class OpenRows:
    """Parts of open shards, made in a folder of our own."""

    def __init__(self, root: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._output, self._now = Layout(root), now
        self._scratch = Layout(Path(tempfile.mkdtemp(prefix="rowmill-view-")))
        self._scratch.results.mkdir()
        weakref.finalize(self, shutil.rmtree, self._scratch.root, ignore_errors=True)
        self._made: dict[int, State] = {}
        self._next = float("-inf")

    def parts(self, manifest: Manifest) -> list[Path]:
        """A part for each open shard of which rows are settled, as they stand now or stood a moment ago."""
        begun = self._now()
        if begun >= self._next:
            self._look(manifest)
            self._next = self._now() + max(EVERY_S, (self._now() - begun) / SHARE)
        return [path for number in self._made if (path := self._scratch.part_path(number)).exists()]

    def _look(self, manifest: Manifest) -> None:
        segments = {
            number: path
            for number, path in segments_in(self._output.journal).items()
            if not self._output.part_path(number).exists()
        }
        for number in self._made.keys() - segments.keys():
            del self._made[number]
            self._scratch.part_path(number).unlink(missing_ok=True)
        for number, path in segments.items():
            # It goes when its part is written; what is being written at this moment is read the next time.
            with suppress(OSError, RowmillError):
                told = path.stat()
                state = (told.st_ino, told.st_size, told.st_mtime_ns)
                if self._made.get(number) != state:
                    self._make(number, path, manifest)
                    self._made[number] = state

    def _make(self, number: int, segment: Path, manifest: Manifest) -> None:
        settled: dict[int, Outcome] = {}
        tally = Tally()

        def note(outcome: Outcome) -> None:
            settled[outcome.row_index] = outcome
            tally.add(outcome)

        found = replay(segment, note)
        if found is None or not settled:
            return
        rows = sorted(settled)
        columns = _columns(manifest, self._output.root, found.head.shard, rows=rows)
        batches = ([settled[row] for row in rows[at : at + BATCH_ROWS]] for at in range(0, len(rows), BATCH_ROWS))
        footer = Footer(PART_VERSION, found.head.job, found.head.shard, False, tally_value(tally))
        write_part(self._scratch.part_path(number), columns, batches, footer=footer)


def _columns(manifest: Manifest, root: Path, shard: Shard, *, rows: Sequence[int]) -> PartColumns:
    """What a part of these rows is made of. The columns of an input that is gone are null."""
    job = as_asked(in_begun_order(job_of(manifest.job, str(root)), manifest))
    validator = validator_of(job)
    survey = Survey()
    try:
        files = job_files(job, root)
        told = {} if is_typed(files) else _read(job, files, shard, rows=rows, survey=survey)
    except (RowmillError, OSError, ValueError):
        job, files, told = job.model_copy(update={"keep": []}), [], {}
    # Gold is for the part itself, when it is whole.
    schema, types = columns_of(job.model_copy(update={"gold": None}), validator.shape, survey, files=files)
    kept = _typed(files, shard, types, job=job) if files and is_typed(files) else _picks(told, types)
    return PartColumns(schema, validator.shape if validator.has_schema else None, kept)


def _read(
    job: Job, files: list[InputFile], shard: Shard, *, rows: Sequence[int], survey: Survey
) -> dict[int, dict[str, Any]]:
    """The columns of some rows that results keep; their types are met by the survey."""
    names, wanted = kept_names(job), set(rows)
    if not names:
        return {}
    found: dict[int, dict[str, Any]] = {}
    all_rows = shard_rows(shard, files, job.id, max_line_bytes=job.limits.max_line_bytes)
    for row in islice(all_rows, rows[-1] - shard.first_row + 1):
        if isinstance(row, Row) and row.index in wanted:
            found[row.index] = {name: row.columns.get(name) for name in names}
            for name, value in found[row.index].items():
                survey.keep_types.meet(name, value)
    return found


def _picks(told: Mapping[int, Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> Pick:
    def pick(rows: Sequence[int]) -> pa.Table:
        few = [told.get(row, {}) for row in rows]
        return pa.table(
            {
                name: pa.array([kept_or_null(columns.get(name), type_) for columns in few], type_)
                for name, type_ in types.items()
            }
        )

    return pick


def _typed(files: Sequence[InputFile], shard: Shard, types: Mapping[str, pa.DataType], *, job: Job) -> Pick:
    sizes = {name_of(file): typed.rows(file) for file in files if (typed := typed_of(file)) is not None}
    kept = KeptColumns(
        files, types, file_rows=sizes, states=input_state(files), max_line_bytes=job.limits.max_line_bytes
    )
    return kept.of(shard)


def newest(parts: Sequence[Path], opened: Sequence[Path]) -> list[Path]:
    """All parts in the order of the input; one that was written meanwhile stands for its open shard."""
    names = {part.name for part in parts}
    return sorted([*parts, *(part for part in opened if part.name not in names)], key=attrgetter("name"))
