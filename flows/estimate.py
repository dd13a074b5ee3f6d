"""Estimate: a dry run as a Prefect flow. Its result is the forecast, and an artifact tells it to people."""

from __future__ import annotations

from typing import Any

import msgspec
from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from rowmill.flows.extract import job_of, run_name
from rowmill.flows.orchestration.estimate_job import estimate_job, refuse_above
from rowmill.flows.orchestration.estimation import EstimateOptions
from rowmill.flows.orchestration.gateway_access import open_gateway
from rowmill.flows.orchestration.pilot import pilot_with
from rowmill.flows.orchestration.prefect_view import artifact_key
from rowmill.schemas.display_text import markdown, markdown_block
from rowmill.schemas.errors import RowmillError
from rowmill.schemas.job import Job


def _run_name() -> str:
    return f"estimate {run_name()}"


@flow(name="rowmill-estimate", flow_run_name=_run_name, retries=0, persist_result=False)
async def estimate(
    job: Job | None = None,
    job_file: str | None = None,
    pilot: int | None = None,
    *,
    limit: int | None = None,
    sandbox: bool = False,
    require_under: float | None = None,
    overrides: dict[str, Any] | None = None,
) -> State[dict[str, Any]]:
    """Forecast what a job will cost and how long it takes. Sends nothing, unless a pilot is asked for.

    Args:
        job: the job to forecast (or name a `job_file`)
        job_file: a job file on the machine that runs this, in place of `job`
        pilot: pay for so many random rows first; they are kept as results
        limit: forecast only so many rows from the input's beginning
        sandbox: start a sandbox for the pilot and use it; nothing is paid
        require_under: fail where the whole may cost more USD than this (its 99 % bound)
        overrides: keys of the job_file to change, dotted: {"model": "gemini-3-flash", "limits.rpm": 600}
    """
    try:
        told = job_of(job, job_file, overrides)
        ask = EstimateOptions(pilot=pilot, limit=limit, sandbox=sandbox)
        if pilot is None:
            forecast = await estimate_job(told, ask)
        else:
            async with open_gateway(told, sandbox=sandbox) as gateway:
                forecast = await estimate_job(told, ask, pilot_with(gateway, limit=ask.limit, sandbox=ask.sandbox))
        text = str(forecast)
        await acreate_markdown_artifact(
            key=artifact_key("rowmill-estimate", told.name),
            markdown=markdown_block(text),
            description=markdown(f"What {told.name} will cost"),
        )
        if require_under is not None:
            refuse_above(forecast, require_under)
    except RowmillError as error:
        return Failed(name="Refused", message=str(error))
    return Completed(message=text.splitlines()[0], data=msgspec.to_builtins(forecast))
