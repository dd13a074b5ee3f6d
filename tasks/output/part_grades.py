"""Part grades: the answers of a part held against gold, as a column of it, and their sums in the file's metadata.

Gold is read from the input when a part is written, like kept columns: it stands in no request and in no journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.output_schema import Shape
from rowmill.tasks.fields.grading import Grader, MalformedGoldError
from rowmill.tasks.fields.sums import GoldSums
from rowmill.tasks.fields.tree import MISSING
from rowmill.tasks.input.arrow_values import values

# What a part was held against, and what came of it, in its metadata.
GOLD = "rowmill.gold"
SUMS = b"rowmill.gold_sums"


def grader_of(job: Job, shape: Shape) -> Grader | None:
    """What grades the answers of a job; None where it has no gold. Raises JobError for fields that there are not."""
    if job.gold is None:
        return None
    try:
        return Grader(job.gold, shape)
    except ValueError as error:
        raise JobError(
            f"gold.{error}", where="gold", hint="name fields as `output` has them: amount, who.name, lines.amount"
        ) from None


class PartGrades:
    """The grades of a part that is being written."""

    def __init__(self, grader: Grader) -> None:
        self.sums = GoldSums()
        self._grader = grader

    def column(self, outcomes: Sequence[Outcome], kept: pa.Table) -> pa.Array:
        """Whether each field of these rows is right; null in rows without gold. `kept` holds their gold column."""
        chunks = kept.column(self._grader.gold.column).chunks
        golds = [value for chunk in chunks for value in values(chunk)]
        rows = [self._grade(outcome, gold) for outcome, gold in zip(outcomes, golds, strict=True)]
        return self._grader.tree.column(rows, pa.bool_())

    def _grade(self, outcome: Outcome, cell: Any) -> list[bool | None] | None:
        try:
            gold = self._grader.read(cell)
        except MalformedGoldError as error:
            self.sums.note_malformed(outcome.row_id, str(error))
            return None
        if gold is MISSING:
            self.sums.blank += outcome.status is not Status.UNREADABLE
            return None
        answer = outcome.output_text if outcome.status is Status.OK else None
        return self._grader.grade(outcome.row_id, answer, gold, sums=self.sums)

    def metadata(self) -> dict[bytes, bytes]:
        """What the file's metadata tells."""
        return {SUMS: msgspec.json.encode(self.sums)}


def sums_in(metadata: Mapping[bytes, bytes] | None) -> GoldSums | None:
    """The sums in a part's metadata; None where it was held against no gold."""
    told = (metadata or {}).get(SUMS)
    return None if told is None else msgspec.json.decode(told, type=GoldSums)


def summed_gold(parts: Sequence[Path]) -> GoldSums:
    """The sums of an output's parts."""
    total = GoldSums()
    for path in parts:
        if (sums := sums_in(pq.read_metadata(path).metadata)) is not None:
            total.merge(sums)
    return total
