"""Relabelling: an output's rows labelled by what their votes count, and what run.json tells of that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rowmill.schemas.job import Job
from rowmill.schemas.label_quality import VoterAccuracy, VoteWeights
from rowmill.tasks.labelling.basis import Basis
from rowmill.tasks.labelling.cast_votes import Voters
from rowmill.tasks.labelling.judgements import Corrections
from rowmill.tasks.labelling.weighed_parts import Weighed, rows_to_learn, weigh_parts
from rowmill.tasks.labelling.weighing import Weighing, learned


def relabel(
    job: Job, parts: Sequence[Path], basis: Basis, *, corrections: Corrections
) -> tuple[list[Path], VoteWeights | None]:
    """Label rows by `label.weigh`; by one count a vote where it says so. Returns the parts that changed.

    What is told is None where votes are not weighed. Raises StorageError.
    """
    label = job.label
    assert label is not None
    voters = Voters.of(job.model, label)
    weighing = Weighing()
    if label.is_weighed:
        weighing = learned(label.weigh, rows_to_learn(parts, label, voters, basis=basis), label, voters=voters)
    changed, found = weigh_parts(parts, weighing, label, voters=voters, basis=basis, corrections=corrections)
    return changed, _told(job, voters, weighing, found=found) if label.is_weighed else None


def _told(job: Job, voters: Voters, weighing: Weighing, *, found: Weighed) -> VoteWeights:
    label, models = job.label, weighing.models
    assert label is not None
    accuracies = [
        VoterAccuracy(model=name, vote=vote, accuracy=float(np.mean([model.accuracy(number) for model in models])))
        for number, (name, vote) in enumerate(voters.named() if models else ())
    ]
    shares = [model.prior[1] for model in models] if label.multi else models[0].prior if models else ()
    return VoteWeights(
        asked=label.weigh,
        by=weighing.by,
        why=weighing.why,
        rows_learned_from=weighing.rows,
        gold_rows_learned_from=weighing.gold_rows,
        voters=accuracies,
        sharpness=float(np.mean([model.sharpness for model in models])) if models else None,
        shares={name: float(share) for name, share in zip(label.names, shares, strict=bool(models))},
        rows=found.rows,
        changed=found.changed,
        gold_rows=found.gold_rows,
        right_unweighed=found.right_unweighed,
        right_weighed=found.right_weighed,
    )
