"""Field gate: whether gold rows show fields that are right often enough to pay for the rest. Looked at as they come.

A row counts with the share of its fields that are right. The looks, the margin and the error rates are those of the
gate of labels (tasks.labelling.gate); a mean of shares is tested by Wilson's interval for as many rows as the shares'
own spread is worth.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.labelling.gate import (
    FALSE_PASS,
    FALSE_STOP,
    MARGIN,
    Judged,
    Verdict,
    error_share,
    least_rows,
    look_sizes,
)
from rowmill.tasks.labelling.gold import FIRST_MOST, Draw, rows_in
from rowmill.tasks.labelling.scored_rows import interval, scored_rows
from rowmill.tasks.labelling.scores import Z_95
from rowmill.tasks.plan.label_gold import is_missing

log = logging.getLogger("rowmill")

# Without them a look at 60 rows of few fields passes falsely in 8 of 100 runs, with them in at most 6.
UNSEEN = 20.0
KEY = "gold.min_accuracy"
NEXT = (
    "Mend the prompt or the schema, or correct the gold column (a changed job needs another output or --fresh), or ask "
    "for less"
)


@dataclass(frozen=True, slots=True)
class FieldGate:
    """`wanted` is the share of fields that has to be right, `sample` the gold rows that are asked first, in order."""

    wanted: float
    sample: Sequence[int]

    @property
    def looks(self) -> list[frozenset[int]]:
        """Rows to ask and to score at each look."""
        return [frozenset(self.sample[:size]) for size in look_sizes(len(self.sample))] if self.sample else []

    def judge(self, results: Path, look: int) -> tuple[Judged, Termination | None]:
        """Whether the gold rows of a look show enough to pay for the rest; if not, why the run ends here."""
        looks = self.looks
        shares = [one.right for one in scored_rows(results, looks[look]).values()]
        share = error_share(look, len(looks))
        judged = Judged(judge_shares(shares, self.wanted, share), self._words(shares))
        log.info("gold, look %d of %d: %s", look + 1, len(looks), judged.words)
        if judged.verdict is Verdict.PASS or (judged.verdict is Verdict.UNDECIDED and look < len(looks) - 1):
            return judged, None
        told = f"{judged.words}, so the rest was not asked"
        return judged, Termination(TerminationKind.ACCURACY, None, told, NEXT)

    def _words(self, shares: Collection[float]) -> str:
        if not shares:
            return f"no gold row was scored; {KEY} asks for {self.wanted:.1%}"
        mean, low, high = interval(shares, Z_95)
        return (
            f"{mean:.1%} of the fields of {counted(len(shares), 'gold row')} are right (95 % between {low:.1%} "
            f"and {high:.1%}); "
            f"{KEY} asks for {self.wanted:.1%}"
        )


def judge_shares(shares: Collection[float], wanted: float, error: float) -> Verdict:
    """Whether a mean of rows' shares holds what is wanted; `error` is this look's part of the error rates."""
    if not shares:
        return Verdict.UNDECIDED
    if interval(shares, NormalDist().inv_cdf(1 - FALSE_PASS * error), UNSEEN)[1] >= wanted - MARGIN:
        return Verdict.PASS
    if interval(shares, NormalDist().inv_cdf(1 - FALSE_STOP * error), UNSEEN)[2] < wanted:
        return Verdict.STOP
    return Verdict.UNDECIDED


def field_gate(job: Job, files: Sequence[InputFile], limit: int | None) -> FieldGate | None:
    """The gate of a job with `gold.min_accuracy`; None for any other. Reads the input once.

    Raises JobError where no row has gold, InputError.
    """
    if job.gold is None or job.gold.min_accuracy is None:
        return None
    drawn, met = Draw(FIRST_MOST), False
    for row in rows_in(job, files):
        if limit is not None and row.index >= limit:
            break
        met = True
        if not is_missing(row.columns.get(job.gold.column), frozenset()):
            drawn.meet(row.index, ())
    gate = FieldGate(job.gold.min_accuracy, drawn.in_order())
    if met and not gate.sample:
        among = f" among the first {limit:,}" if limit is not None else ""
        raise JobError(
            f"min_accuracy needs rows with gold in the column {job.gold.column!r}, and there is none{among}",
            where=KEY,
            hint="give some hundred rows their right output, or leave min_accuracy out",
        )
    if gate.sample and len(gate.sample) < (least := least_rows(gate.wanted, len(gate.looks))):
        log.warning(
            "%s: %d gold rows hardly show %.1f%%, were all of their fields right (%d would): the run may stop after "
            "them. Add gold rows, or ask for less",
            KEY, len(gate.sample), 100 * gate.wanted, least,
        )  # fmt: skip
    return gate
