"""People: how far those who labelled the same rows agree."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rowmill.schemas.label_quality import AnnotatorAgreement
from rowmill.tasks.labelling.judgements import Judgements
from rowmill.tasks.labelling.scores import krippendorff_alpha


def agreement_of_people(found: Judgements) -> AnnotatorAgreement | None:
    """Agreement over the rows that several people labelled; None where there is none."""
    kinds = Counter(
        tuple(sorted("\n".join(sorted(labels)) for labels in said.values()))
        for said in found.opinions.values()
        if len(said) > 1
    )
    if not kinds:
        return None
    names = sorted({name for said in kinds for name in said})
    counts = np.array([[said.count(name) for name in names] for said in kinds], np.int64)
    rows = np.array(list(kinds.values()), np.int64)
    people = counts.sum(1)
    pairs = float(rows @ (people * (people - 1)))
    return AnnotatorAgreement(
        annotators=len({person for said in found.opinions.values() if len(said) > 1 for person in said}),
        rows=int(rows.sum()),
        conflicts=len(found.conflicts),
        pairs_agree=float(rows @ ((counts**2).sum(1) - people)) / pairs,
        krippendorff_alpha=krippendorff_alpha(counts, rows),
    )
