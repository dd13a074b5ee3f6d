"""People: how far those who labelled the same rows agree."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from rowmill.tasks.labelling.judgements import Judgements
from rowmill.tasks.labelling.scores import krippendorff_alpha


def agreement_of_people(found: Judgements) -> dict[str, Any] | None:
    """Agreement over the rows that several people labelled; None where there is none.

    `pairs_agree` is the share of the pairs of people on a row who say the same, `krippendorff_alpha` beyond chance.
    """
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
    return {
        "annotators": len({person for said in found.opinions.values() if len(said) > 1 for person in said}),
        "rows": int(rows.sum()),
        "conflicts": len(found.conflicts),
        "pairs_agree": float(rows @ ((counts**2).sum(1) - people)) / pairs,
        "krippendorff_alpha": krippendorff_alpha(counts, rows),
    }
