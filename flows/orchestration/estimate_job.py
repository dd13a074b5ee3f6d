"""Estimate job: a job's forecast, with a pilot if one is asked for, and the bound that a run may be held to."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

import msgspec

from rowmill.flows.orchestration.estimation import EstimateOptions, Estimation
from rowmill.flows.orchestration.pack_trials import with_pack_size
from rowmill.flows.orchestration.pilot import Pilot, RunPilot
from rowmill.schemas.catalogue import find_model
from rowmill.schemas.errors import BudgetError
from rowmill.schemas.forecast import Forecast
from rowmill.schemas.job import Job
from rowmill.tasks.forecast.files import keep_learned, write_forecast
from rowmill.tasks.input.reader import job_files
from rowmill.tasks.job.job_file import catalogue_of
from rowmill.tasks.labelling.label_run import label_run
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.location import output_to_write
from rowmill.tasks.plan.input_checks import refuse_impossible
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.run.run_plan import take_rows


async def estimate_job(job: Job, options: EstimateOptions, run_pilot: RunPilot | None = None) -> Forecast:
    """Forecast a job and write the forecast to `estimate.json` in its output. Sends nothing without a pilot.

    Raises RowmillError for what a run would refuse, and BudgetError if a pilot stops for money.
    """
    with output_to_write(job) as (local, mirror):
        return await _estimate(local, options, run_pilot, mirror=mirror)


async def _estimate(
    job: Job, options: EstimateOptions, run_pilot: RunPilot | None, *, mirror: Mirror | None
) -> Forecast:
    job = await with_pack_size(job, None, limit=options.limit, fresh=False, sandbox=options.sandbox)
    catalogue = catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE"))
    model = find_model(job.model, catalogue)
    await asyncio.to_thread(take_rows, job)
    files = job_files(job) if job.label is not None else []
    if (labelling := label_run(job, files, model, gold_file=None, fresh=False)) is not None:
        job = labelling.job
    refuse_impossible(as_asked(job), model)
    estimation = Estimation(job, model, catalogue, options)
    result, tally = await asyncio.to_thread(estimation.forecast)
    if options.pilot is not None:
        assert run_pilot is not None
        run_rows = partial(run_pilot, mirror, job)
        pilot = Pilot(Path(job.output), estimation.forecast, run_rows, before=result, result=result, tally=tally)
        if options.pilot == "auto":
            await pilot.draw_until_enough(options.pilot_share)
        else:
            await pilot.draw(int(options.pilot))
        result = pilot.told()
    if options.compare:
        result = msgspec.structs.replace(result, compared=list(estimation.on_other_models(result)))
    write_forecast(Path(job.output), result)
    keep_learned(Path(job.output), result)
    if options.rows:
        await asyncio.to_thread(estimation.write_rows, result)
    return result


def refuse_above(result: Forecast, most_usd: float) -> None:
    """Raises BudgetError if the forecast's 99 % bound exceeds a limit, or the price is unknown.

    What the job's caps leave bounds it too.
    """
    if result.cost_usd is None and result.rows.to_ask:
        raise BudgetError(
            "the cost cannot be forecast: the model's price is unknown",
            where="--require-forecast-under",
            hint="add the price to your catalogue, or run without this flag",
        )
    bound = result.cost_usd.bound_99 if result.cost_usd else 0.0
    most = min(bound, bound if result.ceiling_usd is None else result.ceiling_usd)
    if result.spent_usd + most > most_usd:
        why = f"what {result.ceiling_binds} leaves" if most < bound else f"the 99 % bound, {result.basis.value}"
        raise BudgetError(
            f"the forecast exceeds it: {result.spent_usd:.4f} USD are spent, and the total may come to "
            f"{result.spent_usd + most:.4f} USD ({why})",
            where=f"--require-forecast-under {most_usd:g}",
            hint="raise it, take fewer rows with --limit, or narrow the forecast with rowmill estimate --pilot auto",
        )


async def require_forecast_under(job: Job, most_usd: float, *, limit: int | None, sandbox: bool) -> None:
    """Forecast a run before its first call. Raises BudgetError if it may cost more than `most_usd`."""
    refuse_above(await estimate_job(job, EstimateOptions(limit=limit, sandbox=sandbox)), most_usd)
