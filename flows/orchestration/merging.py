"""Merging: the parts of a split job brought together, and looked at as a run over the whole input would."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from msgspec.structs import replace

from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import InputError, OutputError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.price import decimal_string, short_usd
from rowmill.schemas.row import Shard
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.location import output_held, output_to_read
from rowmill.tasks.run.run import OpenRun
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.run.shard_runner import ShardReport
from rowmill.tasks.split.merge import Merged, Merger
from rowmill.tasks.split.part_jobs import refuse_other_parts
from rowmill.tasks.split.place import Split, part_manifest, part_output, read_split
from rowmill.tasks.split.standing import is_complete, standing_of, whole_manifest

# Nobody is called: every row has its answer.
NOBODY = "http://127.0.0.1:9"
log = logging.getLogger("rowmill")


async def merged(address: str) -> Manifest:
    """Merge the parts of the job that was split into this output, if all are complete; its manifest in either case.

    Raises OutputError where there is no split, where a part was run with another job, or where the output holds a run
    of its own; InputError where rows of the input are in no part; DamageError, StorageError.
    """
    split = await asyncio.to_thread(read_split, address)
    if split is None:
        raise OutputError(
            "no job is split into this output", where=address, hint="split one: rowmill split JOB --parts N"
        )
    await asyncio.to_thread(refuse_other_parts, split)
    numbers = range(1, len(split.extents) + 1)
    manifests = [await asyncio.to_thread(part_manifest, split.output, number) for number in numbers]
    with output_held(split.output) as (folder, mirror):
        _refuse_own_run(folder, split.output, mirror)
        if not is_complete(manifests):
            manifest = whole_manifest(split.whole, split, manifests)
            _write(folder, mirror, manifest)
            return manifest
        found = await asyncio.to_thread(_place, split, folder, mirror)
        _warn(found)
        is_sandbox = any(one is not None and one.is_sandbox for one in manifests)
        manifest = await _look(split.whole, folder, mirror, sandbox=is_sandbox)
        standing = replace(
            standing_of(split, manifests),
            requests_paid_in_several_parts=found.requests,
            their_cost_usd=decimal_string(found.usd),
            ids_in_several_parts=found.ids,
        )
        # The order of labels is what was decided when they were asked.
        told = {key: manifest.job[key] for key in ("label",) if key in manifest.job}
        manifest = replace(manifest, job={**split.job, **told}, split=standing)
        _write(folder, mirror, manifest)
        return manifest


def _refuse_own_run(folder: Path, address: str, mirror: Mirror | None) -> None:
    output = Output(folder, mirror)
    try:
        manifest = output.manifest()
    finally:
        output.close()
    if manifest is not None and not manifest.split:
        raise OutputError(
            "this output was gone on with by a run of its own, and its parts know nothing of that",
            where=address,
            hint="go on with it (rowmill run JOB), or split the job into another output",
        )


def _place(split: Split, folder: Path, mirror: Mirror | None) -> Merged:
    """Put the results of all parts into the whole's output. Raises DamageError, StorageError, OutputError."""
    output = Output(folder, mirror)
    try:
        with KeyIndex(output.journal) as index:
            merger = Merger(split.whole, output, index)
            for number in range(1, len(split.extents) + 1):
                with output_to_read(part_output(split.output, number)) as root:
                    merger.add(number, root)
            return merger.merged
    finally:
        output.close()


async def _look(job: Job, folder: Path, mirror: Mirror | None, *, sandbox: bool) -> Manifest:
    """Open the output as a run of the whole job does, which finds every row settled; its manifest."""
    alone = job.model_copy(
        update={
            "output": str(folder),
            "canary": None,
            "stop_when": None,
            "budget": None,
            "limits": job.limits.model_copy(update={"shared": False}),
        }
    )
    gateway = Gateway(NOBODY, "", os.environ.get("ROWMILL_CATALOGUE"))
    async with opened(alone, Options(sandbox=sandbox, merges=True), gateway, mirror=mirror) as run:
        return await carry_out(run, settle=_refuse)


async def _refuse(run: OpenRun, shard: Shard) -> ShardReport:
    raise InputError(
        f"rows {shard.first_row} to {shard.last_row} of the input are in no part: it has changed since they were run",
        where=run.job.input_name,
        hint="run the parts again (they pay for nothing twice), then merge",
    )


def _warn(found: Merged) -> None:
    if found.requests:
        log.warning(
            "%s in several parts, which know nothing of each other: each was paid for once a part, %s beside the first",
            _standing(found.requests, "request"), short_usd(found.usd),
        )  # fmt: skip
    if found.ids:
        told = _standing(found.ids, "id")
        log.warning("%s in several parts: each of these rows was asked, and has its own answer", told)


def _standing(number: int, noun: str) -> str:
    return f"{counted(number, noun)} {'stands' if number == 1 else 'stand'}"


def _write(folder: Path, mirror: Mirror | None, manifest: Manifest) -> None:
    output = Output(folder, mirror)
    try:
        output.write_manifest(manifest)
    finally:
        output.close()
