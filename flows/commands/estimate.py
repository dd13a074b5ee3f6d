"""Estimate: the `estimate` command forecasts what a job will cost, with a pilot if one is asked for."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from rowmill.flows.commands.arguments import overrides
from rowmill.flows.orchestration.pack_trials import with_pack_size
from rowmill.flows.orchestration.pilot import Pilot, RunPilot, pilot_with
from rowmill.flows.text.forecast import forecast_text
from rowmill.schemas.catalogue import Model, find_model
from rowmill.schemas.errors import BudgetError, ExitCode, JobError
from rowmill.schemas.forecast import PILOT_SHARE, Forecast
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.price import PICO
from rowmill.schemas.usage import Usage
from rowmill.tasks.forecast.counting_pass import DryRun, Tally, seed_of
from rowmill.tasks.forecast.estimate import forecast
from rowmill.tasks.forecast.files import keep_learned, kept_ratio, write_forecast, write_rows
from rowmill.tasks.forecast.learned import Learned, learned_from
from rowmill.tasks.forecast.pilot_record import read_record
from rowmill.tasks.forecast.prior import expected_usd, guessed_output
from rowmill.tasks.forecast.settled_rows import SettledRows, settled_rows
from rowmill.tasks.forecast.tokens import Count, by_script, by_tokenizer
from rowmill.tasks.input.reader import job_files
from rowmill.tasks.job.fingerprint import job_fingerprint
from rowmill.tasks.job.job_file import catalogue_of, load_job
from rowmill.tasks.labelling.cascade import cascade_notes
from rowmill.tasks.labelling.label_run import label_run
from rowmill.tasks.output.answer_cache import bound_usd
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.folder import read_manifest
from rowmill.tasks.output.location import output_to_write
from rowmill.tasks.output.spending import spent_in
from rowmill.tasks.plan.input_checks import refuse_impossible
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.vote_planners import planned_votes
from rowmill.tasks.run.run_plan import take_rows


@dataclass(frozen=True, slots=True)
class EstimateOptions:
    """Options of an estimate; none of them is part of the job."""

    pilot: int | str | None = None
    pilot_share: float = PILOT_SHARE
    tokenizer: str | None = None
    rows: bool = False
    compare: bool = False
    limit: int | None = None
    sandbox: bool = False


async def estimate_job(job: Job, options: EstimateOptions, run_pilot: RunPilot | None = None) -> Forecast:
    """Forecast a job and write the forecast to `estimate.json` in its output. Sends nothing without a pilot.

    Raises RowmillError for what a run would refuse, and BudgetError if a pilot stops for money.
    """
    with output_to_write(job) as (local, mirror):
        return await _estimate(local, options, run_pilot, mirror)


async def _estimate(job: Job, options: EstimateOptions, run_pilot: RunPilot | None, mirror: Mirror | None) -> Forecast:
    job = await with_pack_size(job, None, limit=options.limit, fresh=False, sandbox=options.sandbox)
    catalogue = catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE"))
    model = find_model(job.model, catalogue)
    await asyncio.to_thread(take_rows, job)
    files = job_files(job) if job.label is not None else []
    if (labelling := label_run(job, files, model, None, fresh=False)) is not None:
        job = labelling.job
    refuse_impossible(as_asked(job), model)
    result, tally = await asyncio.to_thread(_forecast, job, model, catalogue, options)
    if options.pilot is not None:
        assert run_pilot is not None
        again = partial(_forecast, job, model, catalogue, options)
        run_rows = partial(run_pilot, mirror, job)
        pilot = Pilot(Path(job.output), again, run_rows, before=result, result=result, tally=tally)
        if options.pilot == "auto":
            await pilot.draw_until_enough(options.pilot_share)
        else:
            await pilot.draw(int(options.pilot))
        result = pilot.told()
    if options.compare:
        result = msgspec.structs.replace(result, compared=list(_compared(job, options, catalogue, result)))
    write_forecast(Path(job.output), result)
    keep_learned(Path(job.output), result)
    if options.rows:
        await asyncio.to_thread(_write_rows, job, model, catalogue, options, result)
    return result


def _forecast(
    job: Job, model: Model, catalogue: Mapping[str, Model], options: EstimateOptions
) -> tuple[Forecast, Tally]:
    """One pass over the input, corrected by what the output's settled rows show."""
    fingerprint, _ = job_fingerprint(job, sandbox=options.sandbox)
    settled = settled_rows(Path(job.output), fingerprint)
    record = read_record(Path(job.output), fingerprint)
    drawn = frozenset(bytes.fromhex(one.key) for one in record.drawn) if record else frozenset()
    tally = _dry_run(job, model, catalogue, options, settled, drawn).walk()
    paid = settled.paid(drawn | {one.key for one in tally.earlier}, validator_of(as_asked(job)))
    learned = learned_from(tally, record, paid, expected_usd=expected_usd(job, model), seed=seed_of(fingerprint))
    if learned is None and (ratio := kept_ratio(Path(job.output), model.name)) is not None:
        tally = tally.scaled(ratio)
    return _forecast_from(job, model, catalogue, tally, learned, fingerprint), tally


def _forecast_from(
    job: Job, model: Model, catalogue: Mapping[str, Model], tally: Tally, learned: Learned | None, fingerprint: str
) -> Forecast:
    spent, note = _spent(Path(job.output), fingerprint)
    result = forecast(job, model, tally, learned, fingerprint=fingerprint, spent_usd=spent, now=time.time())
    notes = [*result.notes, *([note] if note else []), *_cascade(job, model, catalogue, tally)]
    before = read_manifest(Path(job.output)) or Manifest()
    return msgspec.structs.replace(result, notes=notes, settled_input_tokens=float(before.totals.input_tokens))


def _cascade(job: Job, model: Model, catalogue: Mapping[str, Model], tally: Tally) -> list[str]:
    """Whether a labelling job that escalates can cost less than the stronger model alone."""
    if job.label is None or job.label.escalate is None or not tally.to_ask:
        return []
    usage = Usage(round(tally.tokens / tally.to_ask), round(guessed_output(job, model)))
    stronger = find_model(job.label.escalate.model, catalogue)
    return cascade_notes(job.label, model, stronger, usage, read_manifest(Path(job.output)) or Manifest())


def _spent(output: Path, fingerprint: str) -> tuple[float, str | None]:
    """What this job has cost in its output, unknown cost at its bound; and a note if the output is another job's."""
    manifest = read_manifest(output)
    if manifest is not None and manifest.fingerprint.hash != fingerprint:
        return 0.0, f"{output} holds the results of another job: give this one another output, or run it with --fresh"
    return bound_usd(spent_in(output)) / PICO, None


def _dry_run(
    job: Job,
    model: Model,
    catalogue: Mapping[str, Model],
    options: EstimateOptions,
    settled: SettledRows,
    watched: frozenset[bytes] = frozenset(),
) -> DryRun:
    count: Count = by_tokenizer(Path(options.tokenizer)) if options.tokenizer else by_script
    votes = planned_votes(job, model, catalogue, sandbox=options.sandbox)
    return DryRun(
        as_asked(job),
        model,
        votes,
        settled,
        count,
        sandbox=options.sandbox,
        limit=options.limit,
        watched=watched,
        # A pilot draws from every row, and --rows tells of each.
        draws=options.pilot is None and not options.rows,
    )


def _compared(
    job: Job, options: EstimateOptions, catalogue: Mapping[str, Model], result: Forecast
) -> Iterator[dict[str, Any]]:
    """The same rows on every other model: its own prices, and this forecast's tokens where a sample measured them."""
    for model in catalogue.values():
        if model.name == job.model or model.price is None:
            continue
        other = job.model_copy(update={"model": model.name})
        try:
            refuse_impossible(as_asked(other), model)
            tally = _dry_run(other, model, catalogue, options, SettledRows()).walk()
        except JobError as error:
            yield {"model": model.name, "cannot": str(error)}
            continue
        found: dict[str, Any] = {"model": model.name, "rows": tally.to_ask}
        if result.sample is not None:
            tokens = Usage(
                round(tally.tokens * result.sample.input_ratio * result.sample.calls_a_row),
                round(tally.to_ask * result.sample.mean_output_tokens),
            )
            found |= {
                "estimate_usd": model.price.of(tokens).usd / PICO, "because": f"with the tokens that {job.model} used"
            }  # fmt: skip
        else:
            guess = forecast(other, model, tally, None, fingerprint=result.job, spent_usd=0.0, now=time.time()).cost_usd
            found |= {"estimate_usd": guess.estimate if guess else None, "because": "a guess, as for this model"}
        yield found


def _write_rows(
    job: Job, model: Model, catalogue: Mapping[str, Model], options: EstimateOptions, result: Forecast
) -> None:
    ratio = result.sample.input_ratio if result.sample else 1.0
    dry_run = _dry_run(job, model, catalogue, options, settled_rows(Path(job.output), result.job))
    write_rows(Path(job.output), dry_run, ratio, result.intercept_usd, result.usd_per_token)


def refuse_above(result: Forecast, most_usd: float) -> None:
    """Raises BudgetError if the forecast's 99 % bound exceeds a limit, or the price is unknown."""
    if result.cost_usd is None and result.rows.to_ask:
        raise BudgetError(
            "the cost cannot be forecast: the model's price is unknown",
            where="--require-forecast-under",
            hint="add the price to your catalogue, or run without this flag",
        )
    bound = result.spent_usd + (result.cost_usd.bound_99 if result.cost_usd else 0.0)
    if bound > most_usd:
        raise BudgetError(
            f"the forecast exceeds it: {result.spent_usd:.4f} USD are spent, and the 99 % bound of the total is "
            f"{bound:.4f} USD ({result.basis.value})",
            where=f"--require-forecast-under {most_usd:g}",
            hint="raise it, take fewer rows with --limit, or narrow the forecast with rowmill estimate --pilot auto",
        )


async def require_forecast_under(job: Job, most_usd: float, *, limit: int | None, sandbox: bool) -> None:
    """Forecast a run before its first call. Raises BudgetError if it may cost more than `most_usd`."""
    refuse_above(await estimate_job(job, EstimateOptions(limit=limit, sandbox=sandbox)), most_usd)


async def estimate_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill estimate JOB`."""
    from rowmill.flows.commands.run import gateway_for

    job = load_job(Path(args.job), overrides(args))
    options = EstimateOptions(
        args.pilot, args.pilot_share, args.tokenizer, args.rows, args.compare, args.limit, args.sandbox
    )
    if options.pilot is None:
        result = await estimate_job(job, options)
    else:
        with gateway_for(job, sandbox=args.sandbox, settings=args.sandbox_settings) as gateway:
            if gateway is None:
                from rowmill.flows.orchestration.gateway_access import gateway_of

                gateway = await gateway_of(job)
            result = await estimate_job(job, options, pilot_with(gateway, limit=options.limit, sandbox=options.sandbox))
    if args.json:
        print(json.dumps(msgspec.to_builtins(result), indent=1))
    elif not args.quiet:
        print(forecast_text(result))
    return ExitCode.OK
