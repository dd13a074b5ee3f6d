"""Parts: a job over many machines as Prefect flows. One splits it, has each part run by a deployment, and merges them;
the other runs one part.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from rowmill.flows.extract import job_of, run_job, run_name, state_of
from rowmill.flows.orchestration.merging import merged
from rowmill.flows.orchestration.part_runs import POLL_S, Ended, PartRuns
from rowmill.flows.orchestration.prefect_view import RUN_KEY, artifact_key, logs_to_prefect
from rowmill.flows.orchestration.run_report import leave_report
from rowmill.flows.orchestration.split_job import split_job
from rowmill.flows.text.summary import summary
from rowmill.schemas.display_text import markdown_block, one_line
from rowmill.schemas.errors import JobError, RowmillError
from rowmill.schemas.job import Job
from rowmill.tasks.input.formats import input_state
from rowmill.tasks.input.listing import job_files
from rowmill.tasks.job.job_file import job_of as checked
from rowmill.tasks.output.location import output_held
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.split.place import Split, part_manifest

PART = "rowmill-part/part"
# A server takes parameters of half a megabyte at the most.
JOB_MOST = 400 * 1024
log = logging.getLogger("rowmill")


def part_run_name() -> str:
    """The part's own name."""
    try:
        return one_line(str(json.loads(flow_run.parameters["job"])["name"]))
    except (ValueError, LookupError, TypeError):
        return "rowmill-part"


@flow(name="rowmill-part", flow_run_name=part_run_name, retries=0, persist_result=False)
async def run_part(job: str, sandbox: bool = False, retry_failed: str | None = None) -> State[dict[str, Any]]:
    """Run one part of a split job. Started by the flow rowmill-parts.

    Args:
        job: the part job, as JSON text
        sandbox: start a sandbox for this run and use it; nothing is paid
        retry_failed: try rows again that are not ok: `any`, a status or an error kind
    """
    try:
        asked = checked(json.loads(job), "job")
    except ValueError as error:
        return Failed(name="Refused", message=f"the part job is no JSON: {error}")
    except RowmillError as error:
        return Failed(name="Refused", message=str(error))
    options = Options(retry_failed=retry_failed, sandbox=sandbox)
    return await run_job(asked, None, options, require_forecast_under=None, labels=asked.label is not None)


@flow(name="rowmill-parts", flow_run_name=run_name, retries=0, persist_result=False)
async def run_parts(
    job: Job | None = None,
    job_file: str | None = None,
    parts: int | None = None,
    *,
    at_once: int | None = None,
    deployment: str = PART,
    sandbox: bool = False,
    retry_failed: str | None = None,
    overrides: dict[str, Any] | None = None,
    poll_s: float = POLL_S,
) -> State[dict[str, Any]]:
    """Split a job into parts, run each of them through a deployment on a worker of its own, and merge them into one
    output under one cap.

    Returns the manifest (run.json) of the whole. The run fails, naming the part, when one is refused or stopped; run it
    again and it waits for parts that still run, goes on with those that are not complete, and pays for nothing twice.

    Args:
        job: what to ask, of which model, and where the results go (or name a `job_file`)
        job_file: a job file on the machine that runs this, in place of `job`
        parts: number of parts; left out where the job is split already
        at_once: how many run at a time, for which concurrency, rpm and tpm are divided; all of them by default
        deployment: FLOW/NAME of the deployment that runs a part
        sandbox: each part starts a sandbox for its run and uses it; nothing is paid
        retry_failed: try rows again that are not ok: `any`, a status or an error kind
        overrides: keys of the job_file to change, dotted: {"max_cost_usd": 5, "limits.rpm": 600}
        poll_s: seconds after which the parts are looked at again
    """
    with logs_to_prefect():
        try:
            asked = job_of(job, job_file, overrides)
            split, jobs = await asyncio.to_thread(split_job, asked, parts, at_once)
            for one in jobs:
                _refuse_large(one)
            wanted = await asyncio.to_thread(_to_run, split, jobs, retry_failed)
            log.info("%s: %d of %d parts are to be run by %s", asked.name, len(wanted), len(jobs), deployment)
            runs = PartRuns(
                wanted,
                deployment,
                at_once=split.at_once,
                sandbox=sandbox,
                retry_failed=retry_failed,
                poll_s=poll_s,
            )
            ended = await runs.run()
            _refuse_refused(ended, split)
            manifest = await merged(asked.output)
            if manifest.is_complete:
                await asyncio.to_thread(_leave_report, asked.output)
            told = summary(manifest, asked.output)
            log.info("%s", told)
        except RowmillError as error:
            return Failed(name="Refused", message=str(error))
    key = artifact_key(RUN_KEY, asked.name)
    await acreate_markdown_artifact(key=key, markdown=markdown_block(told), description=one_line(asked.output))
    return state_of(manifest)


def _to_run(split: Split, jobs: list[Job], retry_failed: str | None) -> dict[int, Job]:
    """The parts that are not complete, whose input has changed since, or that have rows to be tried again."""
    wanted = {}
    for number, job in enumerate(jobs, 1):
        manifest = part_manifest(split.output, number)
        if manifest is not None and manifest.is_complete:
            again = retry_failed is not None and manifest.ledger.ok < manifest.ledger.rows
            if not again and manifest.input.files == input_state(job_files(job)):
                continue
        wanted[number] = job
    return wanted


def _refuse_large(job: Job) -> None:
    if (size := len(job.model_dump_json(exclude_defaults=True))) > JOB_MOST:
        raise JobError(
            f"a part job has {size:,} bytes, and Prefect takes parameters of {JOB_MOST:,} at the most",
            where="schema",
            hint="run the part jobs' files yourself: rowmill split, rowmill run, rowmill merge",
        )


def _refuse_refused(ended: Ended, split: Split) -> None:
    """Raises JobError for a part that could not begin: what its files tell would be of an earlier run."""
    for number, state in sorted(ended.states.items()):
        if state == "Refused":
            raise JobError(
                f"part {number} of {len(split.extents)}: {ended.messages[number]}",
                where="",
                hint="mend that and run this again: parts that are complete stand",
            )


def _leave_report(output: str) -> None:
    with output_held(output) as (root, _):
        leave_report(root)
