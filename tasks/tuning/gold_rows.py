"""Gold rows: the rows that plans are compared on, in a fixed random order; which of them choose and which judge."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.row import Row
from rowmill.tasks.input.files import name_of
from rowmill.tasks.input.reader import job_files, judge, lines
from rowmill.tasks.plan.label_gold import is_missing

GOLD_MOST = 4_000


@dataclass(frozen=True, slots=True)
class GoldRows:
    """Positions of rows. `choosing` are asked of many plans; `judging` only of one that may be marked."""

    choosing: Sequence[int]
    judging: Sequence[int]


def gold_rows(job: Job, limit: int | None, seed: int) -> GoldRows:
    """Half of the gold rows to choose by, half to judge by. Reads the input once. Raises JobError, InputError."""
    column = job.gold_column
    if column is None:
        raise JobError(
            "there is no gold to compare plans on",
            where="gold",
            hint="name the column with the right outputs (gold: COLUMN), or with the right labels (label.gold: COLUMN)",
        )
    found = list(_with_gold(job, column, limit))
    if len(found) < 2:
        raise JobError(
            f"{counted(len(found), 'row')} with gold in the column {column!r}: nothing can be compared",
            where="gold",
            hint="give some hundred rows their right answer",
        )
    random.Random(seed).shuffle(found)
    found = found[:GOLD_MOST]
    half = len(found) // 2
    return GoldRows(found[:half], found[half:])


def _with_gold(job: Job, column: str, limit: int | None) -> Iterator[int]:
    index = 0
    labels = frozenset(job.label.names) if job.label is not None and job.label.labels is not None else frozenset()
    for file in job_files(job):
        for line in lines(file, file.start, job.limits.max_line_bytes):
            if limit is not None and index >= limit:
                return
            row = judge(line, index, name_of(file), id_column=job.id)
            if isinstance(row, Row) and not is_missing(row.columns.get(column), labels):
                yield index
            index += 1
