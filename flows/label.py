"""Label: a labelling job as a Prefect flow. Votes, gold and review come with the job; its task runs are shards."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from rowmill.flows.extract import run_job, run_name
from rowmill.schemas.job import Job
from rowmill.tasks.run.run_plan import Options


@flow(name="rowmill-label", flow_run_name=run_name, retries=0, persist_result=True, result_serializer="json")
async def label(
    job: Job | None = None,
    job_file: str | None = None,
    gold: str | None = None,
    *,
    limit: int | None = None,
    fresh: bool = False,
    retry_failed: str | None = None,
    sandbox: bool = False,
    require_forecast_under: float | None = None,
    gold_by: str | None = None,
    approve_over: float | None = None,
    overrides: dict[str, Any] | None = None,
    variables: dict[str, str] | None = None,
) -> State[dict[str, Any]]:
    """Label every row of the job's input by votes; write labels, votes, agreement and their cost, and tell how good.

    Returns the manifest (run.json). The run fails, naming why and what to do, when it is refused or stopped, also where
    its gold rows are labelled worse than `label.min_accuracy`; run it again and it goes on where it stopped.

    Args:
        job: what to label, by which model, and where the results go (or name a `job_file`)
        job_file: a job file on the machine that runs this, in place of `job`
        gold: file of labels that people gave (review.jsonl filled in, JSONL, CSV, a Label Studio export)
        limit: take only so many rows from the input's beginning
        fresh: move earlier results aside and start anew
        retry_failed: try rows again that are not ok: `any`, a status or an error kind
        sandbox: start a sandbox for this run and use it; nothing is paid
        require_forecast_under: forecast first, and send nothing where the whole may cost more USD than this
        gold_by: the annotator who decides where people disagree, or `majority`
        approve_over: forecast first, and wait until somebody approves a sum where this run may cost more USD than this
        overrides: keys of the job_file to change for this run, dotted: {"label.votes": 5, "limits.rpm": 600}
        variables: the same from Prefect Variables, read when the run starts: {"max_cost_usd": "nightly_cap_usd"}
    """
    options = Options(limit, fresh, retry_failed, sandbox, gold=gold, gold_by=gold_by)
    return await run_job(
        job,
        job_file,
        options,
        require_forecast_under=require_forecast_under,
        approve_over=approve_over,
        overrides=overrides,
        variables=variables,
        labels=True,
    )
