"""Tune: the comparison of plans as a Prefect flow. Its result is the comparison, and an artifact tells it to people."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from rowmill.flows.extract import job_of, run_name
from rowmill.flows.orchestration.gateway_access import open_gateway
from rowmill.flows.orchestration.prefect_view import artifact_key, logs_to_prefect
from rowmill.flows.orchestration.tune_job import TUNED, TuneOptions, tune_job
from rowmill.flows.text.tuning import by_cost, cost_text, hours_text, right_text, verdict
from rowmill.schemas.display_text import markdown
from rowmill.schemas.errors import RowmillError
from rowmill.schemas.job import Job
from rowmill.schemas.tuning import Tuning


def _run_name() -> str:
    return f"tune {run_name()}"


@flow(name="rowmill-tune", flow_run_name=_run_name, retries=0, persist_result=False)
async def tune(
    target: float,
    budget_usd: float,
    job: Job | None = None,
    *,
    job_file: str | None = None,
    margin: float = 0.02,
    limit: int | None = None,
    seed: int = 0,
    sandbox: bool = False,
    overrides: dict[str, Any] | None = None,
) -> State[dict[str, Any]]:
    """Compare ways of asking on gold rows, and mark the cheapest that is right often enough.

    Args:
        target: share of gold rows that has to be right, such as 0.95
        budget_usd: what the comparison may cost at the most, in USD
        job: the job to compare plans of (or name a `job_file`)
        job_file: a job file on the machine that runs this, in place of `job`
        margin: how far below the target the 95 % interval of the marked plan may reach
        limit: take gold rows among only so many rows from the input's beginning
        seed: which gold rows choose and which judge
        sandbox: start a sandbox and compare the plans on it; nothing is paid
        overrides: keys of the job_file to change, dotted: {"model": "gemini-3-flash", "limits.rpm": 600}
    """
    try:
        told = job_of(job, job_file, overrides)
        options = TuneOptions(target, Decimal(str(budget_usd)), margin, limit, seed, sandbox)
        with logs_to_prefect():
            async with open_gateway(told, sandbox=sandbox) as gateway:
                tuning = await tune_job(told, options, gateway)
        await acreate_markdown_artifact(
            key=artifact_key("rowmill-tune", told.name),
            markdown=artifact_text(tuning, told.name, told.output),
            description=markdown(f"Ways of asking {told.name}, compared on gold rows"),
        )
    except RowmillError as error:
        return Failed(name="Refused", message=str(error))
    message, found = verdict(tuning)[0], msgspec.to_builtins(tuning)
    if tuning.chosen is None:
        return Failed(name="NonePlanHolds", message=message, data=found)
    return Completed(message=message, data=found)


def artifact_text(tuning: Tuning, name: str, output: str) -> str:
    """The plans as a table, those on the front in bold, and what was decided."""
    front = {plan.name for plan in tuning.front}
    lines = [f"# {markdown(name)}", "", *(f"{markdown(line)}  " for line in verdict(tuning)), ""]
    lines += ["| plan | $ per 1,000 rows | right | gold rows | hours per million rows | outcome |",
              "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for plan in by_cost(tuning):
        shown = f"**{markdown(plan.name)}**" if plan.name in front else markdown(plan.name)
        cells = [shown, cost_text(plan), right_text(plan), f"{plan.rows:,}", hours_text(plan),
                 markdown(f"{plan.state.value}: {plan.reason}")]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Bold: no other plan measured is both cheaper and more often right."]
    if tuning.chosen is not None:
        lines.append(f"The marked plan as a job: {markdown(f'{output}/{TUNED}')}")
    return "\n".join(lines) + "\n"
