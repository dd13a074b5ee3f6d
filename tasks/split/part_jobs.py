"""Part jobs: a job as several, each with a range of the rows and an output of its own, that share limits and cap."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from msgspec.structs import replace

from rowmill.schemas.errors import JobError, OutputError
from rowmill.schemas.input_sections import Query
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest, difference
from rowmill.schemas.part_of import PartOf
from rowmill.tasks.input.divide import Extent, divide
from rowmill.tasks.input.listing import job_files
from rowmill.tasks.input.stored import is_stored
from rowmill.tasks.job.fingerprint import job_fingerprint
from rowmill.tasks.output.location import in_bucket
from rowmill.tasks.plan.begun_labels import in_begun_order
from rowmill.tasks.split.place import Split, part_manifest, part_output, read_split

NAME_MOST = 40


def split_of(job: Job, parts: int | None, at_once: int | None, *, redis: bool) -> Split:
    """How a job is split: as it is already, where parts of it have been run, else into so many parts. `redis`: there is
    one that all its runs reach.

    Raises JobError for what cannot be split; InputError; OutputError where parts that were run have other ranges, or
    were run with another job.
    """
    refuse_whole(job, redis=redis)
    told = job.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    before = read_split(job.output)
    begun = {} if before is None else _begun(before)
    if before is None or (not begun and parts is not None):
        if parts is None:
            raise JobError("into how many parts the job is to be split is not told", where="--parts", hint="--parts 4")
        extents = tuple(divide(job_files(job), parts, job.limits.max_line_bytes))
        return Split(_name(job), told, parts, _together(at_once, extents), extents)
    for number, manifest in begun.items():
        _refuse_another_job(job, manifest, part_output(job.output, number))
    is_same = before.job["input"] == job.input
    changed = f"{len(before.extents)} parts" if is_same else f"parts of {before.job['input']}"
    if not is_same or parts not in (None, before.asked, len(before.extents)):
        raise OutputError(
            f"this job is split already, into {changed}, of which {len(begun)} have been run",
            where=job.output,
            hint="leave --parts out to go on with them, or name another output with -o",
        )
    return replace(before, job=told, at_once=_together(at_once or before.at_once, before.extents))


def refuse_other_parts(split: Split) -> None:
    """Raises OutputError where a part was run with another job than the one that is split."""
    for number, manifest in _begun(split).items():
        _refuse_another_job(split.whole, manifest, part_output(split.output, number))


def _begun(split: Split) -> dict[int, Manifest]:
    """The manifests of the parts that have been run, by number."""
    numbers = range(1, len(split.extents) + 1)
    found = {number: part_manifest(split.output, number) for number in numbers}
    return {number: manifest for number, manifest in found.items() if manifest is not None}


def _refuse_another_job(job: Job, manifest: Manifest, where: str) -> None:
    _, keys = job_fingerprint(in_begun_order(job, manifest), sandbox=manifest.is_sandbox)
    had = manifest.fingerprint.keys
    if had != keys:
        raise OutputError(
            f"this part was run with another job ({difference(had, keys)})",
            where=where,
            hint="undo that, or split the job into another output",
        )


def _together(at_once: int | None, extents: Sequence[Extent]) -> int:
    return max(1, min(at_once or len(extents), len(extents)))


def part_jobs(job: Job, split: Split) -> list[Job]:
    """The jobs of all parts, in the order of the input."""
    limits = _limits(job, split.at_once)
    jobs = []
    for number, extent in enumerate(split.extents, 1):
        part = PartOf(
            name=split.name,
            output=job.output,
            part=number,
            parts=len(split.extents),
            first=extent.first,
            end=extent.end,
        )
        jobs.append(
            job.model_copy(
                update={
                    "name": f"{job.name} {number}/{len(split.extents)}",
                    "output": part_output(job.output, number),
                    "limits": limits,
                    "part_of": part,
                }
            )
        )
    return jobs


def _limits(job: Job, at_once: int) -> Any:
    """Calls in flight are divided, and what is not shared through a Redis."""
    limits = job.limits
    told: dict[str, Any] = {"concurrency": max(1, limits.concurrency // at_once)}
    if not limits.shared:
        told |= {key: value / at_once for key in ("rpm", "tpm") if (value := getattr(limits, key)) is not None}
    return limits.model_copy(update=told)


def refuse_whole(job: Job, *, redis: bool) -> None:
    """Raises JobError for a job whose parts could not do together what it does alone."""
    if job.part_of is not None:
        raise JobError(f"this is {job.part_of.title} of a job already", where="part_of", hint="split the whole job")
    if is_stored(job):
        kind = "a query" if isinstance(job.input, Query) else "standard input" if job.input == "-" else "a workbook"
        raise JobError(
            f"{kind} cannot be split: each part would take other rows",
            where="input",
            hint="write its rows to a .parquet or .jsonl file first, and name that",
        )
    if job.runner != "local":
        raise JobError(
            f"runner: {job.runner} divides a job among its workers already",
            where="runner",
            hint="run the job as it is, or use runner: local for its parts",
        )
    if job.max_cost_usd is not None and in_bucket(job.output) and not redis:
        raise JobError(
            "the cap of parts in a bucket needs a Redis that all of them reach",
            where="max_cost_usd",
            hint="set ROWMILL_REDIS_URL to redis://host:6379, or name an output folder that all machines mount",
        )
    if job.max_run_cost_usd is not None:
        raise JobError(
            "max_run_cost_usd caps one run, and each part is a run of its own",
            where="max_run_cost_usd",
            hint="max_cost_usd caps all parts together, budget a day of them",
        )
    if job.rows_per_call == "auto":
        raise JobError(
            "rows_per_call: auto would be decided anew in each part, and not everywhere alike",
            where="rows_per_call",
            hint="let `rowmill run JOB -n 500 -o out/trial` decide it once, and name that number",
        )
    for key, gated in (("label", job.label is not None and job.label.has_gate),
                       ("gold", job.gold is not None and job.gold.min_accuracy is not None)):  # fmt: skip
        if gated:
            raise JobError(
                "the gold rows of the whole job decide whether the rest is asked, and parts are asked at the same time",
                where=key,
                hint="run some rows first (-n 500 -o out/trial), then take min_accuracy (min_recall, min_kappa) out",
            )
    if job.label is not None and job.label.shuffle and job.label.order != "vote":
        raise JobError(
            "the order of the labels depends on a row's place in the input, which a part does not know",
            where="label.order",
            hint="set label.order: vote (one order for all rows of a vote), or label.shuffle: false",
        )
    if job.label is not None and isinstance(job.label.examples, int) and job.label.examples:
        raise JobError(
            "label.examples draws from the gold rows, and each part would draw others",
            where="label.examples",
            hint="list the examples themselves",
        )
    if job.label is not None and job.label.column is not None:
        raise JobError(
            "label.column finds the labels in the rows, and each part would find others",
            where="label.column",
            hint="name them under label.labels",
        )


def _name(job: Job) -> str:
    """A name for the whole that another job with another output does not have."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", job.name).strip("-")[:NAME_MOST] or "job"
    return f"{plain}-{blake2b(job.output.encode(), digest_size=4).hexdigest()}"
