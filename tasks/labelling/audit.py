"""Audit: a random share of all rows that people label too, and the accuracy that can be estimated from it.

Rows that people chose to look at say nothing of the others. A row is in the audit by a hash of its id: it is
the same rows whenever they are drawn, and nothing that the votes say has a part in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b

from rowmill.schemas.label_quality import AuditEstimate
from rowmill.tasks.labelling.scores import Z_95, score_interval, wilson

_SALT = b"audit\0"


def is_drawn(row_id: str, share: float) -> bool:
    """Whether a row belongs to an audit of this share. A larger share draws these rows and more."""
    return int.from_bytes(blake2b(_SALT + row_id.encode(), digest_size=7).digest()) < share * (1 << 56)


@dataclass(slots=True)
class Stratum:
    """Rows of one kind: how many, how many of them were judged (of all, and of those in the audit), how many right."""

    rows: int = 0
    judged: int = 0
    judged_right: int = 0
    drawn: int = 0
    drawn_judged: int = 0
    drawn_right: int = 0

    def meet(self, *, drawn: bool, correct: bool | None) -> None:
        self.rows += 1
        self.drawn += drawn
        if correct is not None:
            self.judged, self.judged_right = self.judged + 1, self.judged_right + correct
            self.drawn_judged, self.drawn_right = self.drawn_judged + drawn, self.drawn_right + (drawn and correct)

    @property
    def sample(self) -> tuple[int, int]:
        """Right, and of how many: all rows of the stratum where all were judged, else those of the audit."""
        if self.rows == self.judged:
            return self.judged_right, self.judged
        return self.drawn_right, self.drawn_judged


def estimate(doubtful: Stratum, other: Stratum) -> AuditEstimate | None:
    """Accuracy of all answered rows by a stratified sample: rows in doubt, which people see anyway, and all others.

    The variance is that of a stratified mean, without replacement; a stratum's own share is drawn to one half by four
    rows (Agresti and Coull), so that a few rows that are all right do not pass for certainty. None where a stratum that
    has rows has no judged ones.
    """
    total = doubtful.rows + other.rows
    strata = [stratum for stratum in (doubtful, other) if stratum.rows]
    if not total or any(not stratum.sample[1] for stratum in strata):
        return None
    share = variance = 0.0
    for stratum in strata:
        right, of = stratum.sample
        weight = stratum.rows / total
        smoothed = (right + 2) / (of + 4)
        share += weight * right / of
        variance += weight**2 * smoothed * (1 - smoothed) / of * (1 - of / stratum.rows)
    low, high = _interval(share, variance, sum(stratum.sample[1] for stratum in strata))
    return AuditEstimate(
        rows=total,
        drawn=doubtful.drawn + other.drawn,
        judged=doubtful.drawn_judged + other.drawn_judged,
        accuracy=share,
        low=low,
        high=high,
    )


def _interval(share: float, variance: float, judged: int) -> tuple[float, float]:
    """Wilson's interval for as many rows as would have this variance; 95 %."""
    if variance <= 0:
        return share, share
    spread = share * (1 - share)
    if spread / variance < 1:
        # All right, or all wrong: the variance is that of the smoothed share alone.
        half = Z_95 * math.sqrt(variance)
        return max(0.0, min(share - half, wilson(round(share * judged), judged)[0])), min(1.0, share + half)
    return score_interval(share, spread / variance, Z_95)
