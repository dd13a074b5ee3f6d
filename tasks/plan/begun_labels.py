"""Begun labels: how an output that is gone on with was asked for its labels, where the job leaves that open."""

from __future__ import annotations

from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest


def in_begun_order(job: Job, before: Manifest) -> Job:
    """The job with the order of labels and whether the schema repeats them decided: as in the output that it goes on
    with, whose answers were given to that.

    `before` is that output's manifest. One without these keys is of a version that had one order for all rows of a
    vote, and every label twice.
    """
    if job.label is None:
        return job
    begun = before.job.get("label")
    ways = {"order": ("row", "vote"), "enum": ("few", "always")}
    decided = {
        key: (begun.get(key, former) if isinstance(begun, dict) else None) or now
        for key, (now, former) in ways.items()
        if getattr(job.label, key) is None
    }
    return job.model_copy(update={"label": job.label.model_copy(update=decided)}) if decided else job
