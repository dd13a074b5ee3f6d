"""Extract: the main job as a Prefect flow. Its task runs are shards; rows fan out inside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow, flow, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import Abort
from prefect.runtime import deployment, flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed, Running, Scheduled

from rowmill.flows.orchestration.asset import materialize_output
from rowmill.flows.orchestration.embedded_server import prepare_embedded_server
from rowmill.flows.orchestration.gateway_access import open_gateway
from rowmill.flows.orchestration.metrics import metrics_at
from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import Watch, beside, carry_out
from rowmill.flows.orchestration.prefect_view import follow_progress, logs_to_prefect, tell_prefect
from rowmill.flows.orchestration.run_report import leave_report
from rowmill.flows.orchestration.run_result import run_result
from rowmill.flows.orchestration.variables import with_variables
from rowmill.flows.orchestration.waiting import wait_here, wait_message
from rowmill.flows.text.summary import summary
from rowmill.schemas.display_text import one_line
from rowmill.schemas.errors import ExitCode, JobError, RowmillError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.price import asked_usd
from rowmill.schemas.row import Shard
from rowmill.tasks.job.checks import refuse_without_labels
from rowmill.tasks.job.job_file import load_job, resolve_job
from rowmill.tasks.output.location import output_to_write
from rowmill.tasks.run.run import OpenRun, Run
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.run.shard_runner import ShardReport

AWAITING = "AwaitingSpendReset"
TAG = "rowmill"
PARAMETERS_MOST, TEXT_SHOWN = 256 * 1024, 2_000
NAMES = {False: "rowmill-extract", True: "rowmill-label"}
log = logging.getLogger("rowmill")
prepare_embedded_server()


def run_name() -> str:
    """A name a person recognises: the job's own; its file's where that cannot be read here or names none."""
    told = flow_run.parameters
    if isinstance(told.get("job"), Job):
        return one_line(told["job"].name)
    path = Path(str(told.get("job_file")))
    try:
        name = load_job(path, told.get("overrides")).name
    except RowmillError:
        # What is wrong with it the flow itself will say.
        return one_line(path.stem)
    return one_line(path.stem if name == Job.model_fields["name"].default else name)


@flow(name="rowmill-extract", flow_run_name=run_name, retries=0, persist_result=True, result_serializer="json")
async def extract(
    job: Job | None = None,
    job_file: str | None = None,
    limit: int | None = None,
    *,
    fresh: bool = False,
    retry_failed: str | None = None,
    sandbox: bool = False,
    require_forecast_under: float | None = None,
    approve_over: float | None = None,
    overrides: dict[str, Any] | None = None,
    variables: dict[str, str] | None = None,
) -> State[dict[str, Any]]:
    """Ask a language model about every row of the job's input; write typed results with the cost of each row.

    Returns the manifest (run.json). The run fails, naming why and what to do, when it is refused or stopped; run it
    again and it goes on where it stopped.

    Args:
        job: what to ask, of which model, and where the results go (or name a `job_file`)
        job_file: a job file on the machine that runs this, in place of `job`
        limit: take only so many rows from the input's beginning
        fresh: move earlier results aside and start anew
        retry_failed: try rows again that are not ok: `any`, a status or an error kind
        sandbox: start a sandbox for this run and use it; nothing is paid
        require_forecast_under: forecast first, and send nothing where the whole may cost more USD than this
        approve_over: forecast first, and wait until somebody approves a sum where this run may cost more USD than this
        overrides: keys of the job_file to change for this run, dotted: {"max_cost_usd": 5, "limits.rpm": 600}
        variables: the same from Prefect Variables, read when the run starts: {"max_cost_usd": "nightly_cap_usd"}
    """
    options = Options(limit, fresh, retry_failed, sandbox)
    return await run_job(
        job,
        job_file,
        options,
        require_forecast_under=require_forecast_under,
        approve_over=approve_over,
        overrides=overrides,
        variables=variables,
    )


async def run_job(
    job: Job | None,
    job_file: str | None,
    options: Options,
    *,
    require_forecast_under: float | None,
    approve_over: float | None = None,
    overrides: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    labels: bool = False,
) -> State[dict[str, Any]]:
    """The body of the flows that run a job."""
    try:
        asked = job_of(job, job_file, await with_variables(overrides, variables))
        if labels:
            refuse_without_labels(asked)
        if approve_over is not None:
            asked_usd(approve_over, "approve_over")
        if require_forecast_under is not None:
            asked_usd(require_forecast_under, "require_forecast_under", or_nothing=True)
            from rowmill.flows.orchestration.estimate_job import require_forecast_under as require_under

            await require_under(asked, require_forecast_under, limit=options.limit, sandbox=options.sandbox)
            options = replace(options, as_taken=True)
        if approve_over is not None:
            asked = await _approved(asked, approve_over, options)
        options = replace(options, resumes=_was_here_before())
        async with open_gateway(asked, sandbox=options.sandbox) as gateway:
            with metrics_at(None) as metrics, output_to_write(asked) as (local, mirror):
                async with opened(local, options, gateway, mirror=mirror) as run:
                    if metrics is not None:
                        metrics.follow(run)
                    manifest = await carry_out_as_flow(run, metrics.watch if metrics is not None else None)
                await asyncio.to_thread(leave_report, Path(local.output))
        return state_of(manifest)
    except RowmillError as error:
        return Failed(name="Refused", message=str(error))


async def _approved(job: Job, limit_usd: float, options: Options) -> Job:
    """The job under the limit, or under the sum that somebody approved in Prefect. Raises JobError where nobody can."""
    from rowmill.flows.orchestration.approval import Bill, approved, ask_prefect, refuse

    def approve(bill: Bill) -> Awaitable[Decimal]:
        if not PREFECT_API_URL.value():
            # The embedded server lives as long as the run: nobody can open its form.
            raise refuse(bill, limit_usd)
        log.info("waiting until somebody approves: %s", bill)
        return ask_prefect(bill)

    return await approved(job, limit_usd, limit=options.limit, sandbox=options.sandbox, approve=approve)


def _was_here_before() -> bool:
    """Whether this flow run began earlier, waited without a process, and begins from the top now."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.run_count > 1


def flow_over(run: Run, watch: Watch | None, *, labels: bool) -> Flow[..., Coroutine[Any, Any, State[dict[str, Any]]]]:
    """The flow of a run that this process has opened already, and watches."""

    # The job is checked already; Prefect would take a `$ref` in its schema for a block of its own.
    @flow(
        name=NAMES[labels],
        flow_run_name=run_name,
        retries=0,
        persist_result=True,
        result_serializer="json",
        validate_parameters=False,
    )
    async def of_an_open_run(
        job: Job, limit: int | None, fresh: bool, *, retry_failed: str | None, sandbox: bool
    ) -> State[dict[str, Any]]:
        try:
            return state_of(await carry_out_as_flow(run, watch))
        except RowmillError as error:
            return Failed(name="Refused", message=str(error))

    return of_an_open_run


def shown_job(job: Job) -> Job:
    """The job as Prefect keeps it with the flow run: long texts and schemas are left to run.json, since a server takes
    parameters of half a megabyte at the most.
    """
    if len(job.model_dump_json()) <= PARAMETERS_MOST:
        return job
    return job.model_copy(
        update={
            "system": _cut(job.system),
            "prompt": _cut(job.prompt),
            "output_schema": None,
            "label": None,
            "tools": [],
            "variants": {},
        }
    )


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}... ({len(text):,} characters)"


def job_of(job: Job | None, job_file: str | None, overrides: Mapping[str, Any] | None = None) -> Job:
    """The job, from either parameter. Raises JobError for none or both; paths are relative to the working directory."""
    if (job is None) == (job_file is None):
        raise JobError("give the flow either a job or a job_file", where="parameters", hint="name one of the two")
    if overrides and job_file is None:
        raise JobError("overrides change keys of a job_file", where="overrides", hint="change the job itself")
    return load_job(Path(job_file), overrides) if job_file is not None else resolve_job(job, Path.cwd())  # type: ignore[arg-type]


async def carry_out_as_flow(run: Run, watch: Watch | None = None) -> Manifest:
    """Carry out a run inside a flow run: a task run each shard, log lines, progress and artifacts. The manifest."""
    job = run.job
    with logs_to_prefect(), tags(TAG, run.model.name):
        log.info("%s: %s by %s, into %s", job.name, job.input_name, run.model.name, job.output)
        async with beside([follow_progress(run.progress, job.name)]):
            manifest = await carry_out(run, settle=_settle_as_task, watch=watch, wait=_wait)
        log.info("%s", summary(manifest, job.output, run.progress))
    await tell_prefect(manifest, job.output, run.progress)
    await materialize_output(manifest, job.output)
    return manifest


async def _settle_as_task(run: OpenRun, shard: Shard) -> ShardReport:
    """Settle one shard in a task run: paths and counts go in and out, rows never do."""

    @task(
        name="settle-shard",
        task_run_name="rows {shard.first_row}-{shard.last_row}",
        retries=0,
        persist_result=False,
        cache_policy=NO_CACHE,
    )
    async def settle_shard(shard: Shard) -> ShardReport:
        report = await run.settle(shard)
        counts = ", ".join(f"{count:,} {status}" for status, count in report.tally.by_status.items())
        whole = "" if report.complete else ", not all yet"
        log.info("rows %d to %d: %s%s", shard.first_row, shard.last_row, counts, whole)
        return report

    report: ShardReport = await settle_shard(shard)
    return report


async def _wait(run: OpenRun, until: float) -> None:
    """Show the wait for the spend limit in Prefect; on a deployment give the worker back and be started again then."""
    message, at = wait_message(run, until), datetime.fromtimestamp(until, UTC)
    run_id = UUID(str(flow_run.id))
    async with get_client() as client:
        if deployment.id is not None:
            # The run starts from the top then: it goes on from its own files.
            await run.close()
            later: State[Any] = Scheduled(name=AWAITING, scheduled_time=at, message=message)
            await client.set_flow_run_state(run_id, later, force=True)
            raise Abort(message)
        await client.set_flow_run_state(run_id, Running(name=AWAITING, message=message), force=True)
        await wait_here(run, until)
        await client.set_flow_run_state(run_id, Running(), force=True)


def state_of(manifest: Manifest) -> State[dict[str, Any]]:
    """The flow's final state: what ended short of its end fails, naming its kind."""
    end, told = manifest.end, run_result(manifest.as_dict())
    message = f"{end.message.rstrip('.')}. {end.next}".removesuffix(". ")
    if not manifest.is_complete:
        name = "".join(word.capitalize() for word in end.kind.value.split("_"))
        return Failed(name=name, message=message, data=told)
    if manifest.exit_code is ExitCode.ROWS_NOT_OK:
        return Completed(name="CompletedWithFailures", message="some rows are not ok", data=told)
    return Completed(message=message, data=told)
