"""Dry run: the `estimate` command. What a job will cost and how sure that is; a pilot where it is asked for."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from rowmill.flows.commands.arguments import overrides
from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.flows.text.forecast import forecast_text
from rowmill.schemas.catalogue import Model, find_model
from rowmill.schemas.errors import BudgetError, ExitCode, JobError
from rowmill.schemas.forecast import Basis, Forecast
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import TerminationKind
from rowmill.schemas.price import PICO
from rowmill.schemas.usage import Usage
from rowmill.tasks.forecast.counting_pass import DryRun, Tally
from rowmill.tasks.forecast.estimate import Learned, forecast, guessed_output, learned_from
from rowmill.tasks.forecast.files import keep_learned, kept_ratio, write_forecast, write_rows
from rowmill.tasks.forecast.settled_rows import SettledRows, settled_rows
from rowmill.tasks.forecast.tokens import Count, by_script, by_tokenizer
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.input.reader import input_files
from rowmill.tasks.job.fingerprint import job_fingerprint
from rowmill.tasks.job.job_file import catalogue_of, load_job
from rowmill.tasks.labelling.cascade import cascade_notes
from rowmill.tasks.labelling.label_run import label_run, planned_votes
from rowmill.tasks.output.answer_cache import bound_usd
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.folder import read_manifest
from rowmill.tasks.output.location import output_to_write
from rowmill.tasks.output.spending import spent_in
from rowmill.tasks.plan.input_checks import refuse_impossible
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.run.manifest_builder import exit_code
from rowmill.tasks.run.run_plan import Options

PILOT_FIRST, PILOT_MOST = 50, 2_000
# A pilot that finds its own size stops here: this near, or at this share of what the batch will cost.
NEAR_ENOUGH = 0.05
PILOT_SHARE = 0.02

RunRows = Callable[[Job, frozenset[int]], Awaitable[dict[str, Any]]]
RunPilot = Callable[[Mirror | None, Job, frozenset[int]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class AskOptions:
    """What is asked of an estimate beside its job."""

    pilot: int | str | None = None
    tokenizer: str | None = None
    rows: bool = False
    compare: bool = False
    limit: int | None = None
    sandbox: bool = False


async def estimate_job(job: Job, ask: AskOptions, run_pilot: RunPilot | None = None) -> Forecast:
    """The forecast of a job, written to its output's `estimate.json`. Sends nothing, unless a pilot is asked for.

    Raises RowmillError for what a run would refuse, and BudgetError where a pilot stops for money.
    """
    with output_to_write(job) as (local, mirror):
        return await _estimate(local, ask, run_pilot, mirror)


async def _estimate(job: Job, ask: AskOptions, run_pilot: RunPilot | None, mirror: Mirror | None) -> Forecast:
    catalogue = catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE"))
    model = find_model(job.model, catalogue)
    files = input_files(job.input) if job.label is not None else []
    if (labelling := label_run(job, files, model, None, fresh=False)) is not None:
        job = labelling.job
    refuse_impossible(as_asked(job), model)
    told, tally = await asyncio.to_thread(_forecast, job, model, catalogue, ask)
    if ask.pilot is not None:
        assert run_pilot is not None
        told = await _with_pilot(job, model, catalogue, ask, told, tally, partial(run_pilot, mirror))
    if ask.compare:
        told = msgspec.structs.replace(told, compared=list(_compared(job, ask, catalogue, told)))
    write_forecast(Path(job.output), told)
    keep_learned(Path(job.output), told)
    if ask.rows:
        await asyncio.to_thread(_write_rows, job, model, catalogue, ask, told)
    return told


def _forecast(job: Job, model: Model, catalogue: Mapping[str, Model], ask: AskOptions) -> tuple[Forecast, Tally]:
    """One pass, and what the output's settled rows tell."""
    fingerprint, _ = job_fingerprint(job, sandbox=ask.sandbox)
    settled = settled_rows(Path(job.output), fingerprint)
    tally = _dry_run(job, model, catalogue, ask, settled).walk()
    # A pilot's rows may lie anywhere in the fixed order, not only where this pass found them settled.
    paid = settled.paid({candidate.row for candidate in tally.candidates})
    learned = learned_from(tally.candidates, paid)
    if learned is None and (ratio := kept_ratio(Path(job.output), model.name)) is not None:
        tally.tokens *= ratio
    return _told(job, model, catalogue, tally, learned, fingerprint), tally


def _told(
    job: Job, model: Model, catalogue: Mapping[str, Model], tally: Tally, learned: Learned | None, fingerprint: str
) -> Forecast:
    spent, note = _spent(Path(job.output), fingerprint)
    told = forecast(job, model, tally, learned, fingerprint=fingerprint, spent_usd=spent, now=time.time())
    notes = [*told.notes, *([note] if note else []), *_cascade(job, model, catalogue, tally)]
    return msgspec.structs.replace(told, notes=notes)


def _cascade(job: Job, model: Model, catalogue: Mapping[str, Model], tally: Tally) -> list[str]:
    """Whether a labelling job that escalates can cost less than the stronger model alone."""
    if job.label is None or job.label.escalate is None or not tally.to_ask:
        return []
    usage = Usage(round(tally.tokens / tally.to_ask), round(guessed_output(job, model)))
    stronger = find_model(job.label.escalate.model, catalogue)
    return cascade_notes(job.label, model, stronger, usage, read_manifest(Path(job.output)) or {})


def _spent(output: Path, fingerprint: str) -> tuple[float, str | None]:
    """What this job has cost here, bounds of what is unknown included; a note where the output is another's."""
    manifest = read_manifest(output) or {}
    if manifest and (manifest.get("fingerprint") or {}).get("hash") != fingerprint:
        return 0.0, f"{output} holds the results of another job: run this one with another output, or with --fresh"
    return bound_usd(spent_in(output)) / PICO, None


def _dry_run(job: Job, model: Model, catalogue: Mapping[str, Model], ask: AskOptions, settled: SettledRows) -> DryRun:
    count: Count = by_tokenizer(Path(ask.tokenizer)) if ask.tokenizer else by_script
    votes = planned_votes(job, model, catalogue, sandbox=ask.sandbox)
    return DryRun(as_asked(job), model, votes, settled, count, sandbox=ask.sandbox, limit=ask.limit)


async def _with_pilot(
    job: Job,
    model: Model,
    catalogue: Mapping[str, Model],
    ask: AskOptions,
    before: Forecast,
    tally: Tally,
    run_rows: RunRows,
) -> Forecast:
    """Pay for random rows, so many as asked or until the forecast is near enough, and forecast again."""
    told, wanted = before, PILOT_FIRST if ask.pilot == "auto" else int(ask.pilot or 0)
    asked = 0
    while True:
        rows = _pilot_rows(tally, wanted)
        if rows:
            manifest = await run_rows(job, rows)
            asked += len(rows)
            _refuse_stopped(manifest)
            told, tally = await asyncio.to_thread(_forecast, job, model, catalogue, ask)
        wanted *= 2
        if ask.pilot != "auto" or _enough(told) or wanted > PILOT_MOST or not told.rows.to_ask:
            break
    pilot = {
        "rows": asked,
        "cost_usd": told.spent_usd - before.spent_usd,
        "before": msgspec.to_builtins(before.cost_usd),
        "basis_before": before.basis.value,
    }
    return msgspec.structs.replace(told, pilot=pilot)


def _pilot_rows(tally: Tally, wanted: int) -> frozenset[int]:
    """The first rows of the fixed random order that are not settled yet."""
    return frozenset(one.row for one in tally.candidates[:wanted] if not one.settled)


def _refuse_stopped(manifest: Mapping[str, Any]) -> None:
    told = manifest["termination"]
    if told["kind"] in (TerminationKind.COMPLETE, TerminationKind.INTERRUPTED):
        return
    error = BudgetError(f"the pilot stopped: {told['message']}", where=told["kind"], hint=told["next"])
    error.exit_code = exit_code(manifest)
    raise error


def _enough(told: Forecast) -> bool:
    """Near enough, or as much spent on looking as looking is worth."""
    cost = told.cost_usd
    if cost is None or told.basis is not Basis.RANDOM:
        return False
    near = cost.high - cost.low <= 2 * NEAR_ENOUGH * cost.estimate
    return near or told.spent_usd >= PILOT_SHARE * (told.spent_usd + cost.estimate)


def _compared(job: Job, ask: AskOptions, catalogue: Mapping[str, Model], told: Forecast) -> Iterator[dict[str, Any]]:
    """The same rows on each other model: its own prices, this forecast's tokens where a sample told them."""
    for model in catalogue.values():
        if model.name == job.model or model.price is None:
            continue
        other = job.model_copy(update={"model": model.name})
        try:
            refuse_impossible(as_asked(other), model)
            tally = _dry_run(other, model, catalogue, ask, SettledRows()).walk()
        except JobError as error:
            yield {"model": model.name, "cannot": str(error)}
            continue
        found: dict[str, Any] = {"model": model.name, "rows": tally.to_ask}
        if told.sample is not None:
            tokens = Usage(
                round(tally.tokens * told.sample.input_ratio * told.sample.calls_a_row),
                round(tally.to_ask * told.sample.mean_output_tokens),
            )
            found |= {
                "estimate_usd": model.price.of(tokens).usd / PICO, "because": f"the tokens {job.model} was seen to use"
            }  # fmt: skip
        else:
            guess = forecast(other, model, tally, None, fingerprint=told.job, spent_usd=0.0, now=time.time()).cost_usd
            found |= {"estimate_usd": guess.estimate if guess else None, "because": "a prior, as for this model"}
        yield found


def _write_rows(job: Job, model: Model, catalogue: Mapping[str, Model], ask: AskOptions, told: Forecast) -> None:
    ratio = told.sample.input_ratio if told.sample else 1.0
    dry_run = _dry_run(job, model, catalogue, ask, settled_rows(Path(job.output), told.job))
    write_rows(Path(job.output), dry_run, ratio, told.intercept_usd, told.usd_per_token)


def refuse_above(told: Forecast, most_usd: float) -> None:
    """Raises BudgetError where the forecast's 99 % bound, or a price that is not known, passes a limit."""
    if told.cost_usd is None and told.rows.to_ask:
        raise BudgetError(
            "the cost cannot be forecast: the model's price is unknown",
            where="--require-forecast-under",
            hint="add the price to your catalogue, or run without this limit",
        )
    bound = told.spent_usd + (told.cost_usd.bound_99 if told.cost_usd else 0.0)
    if bound > most_usd:
        raise BudgetError(
            f"the forecast passes it: {told.spent_usd:.4f} USD are spent, and one time in a hundred the whole costs "
            f"more than {bound:.4f} USD ({told.basis.value})",
            where=f"--require-forecast-under {most_usd:g}",
            hint="raise it, take fewer rows with --limit, or narrow the forecast with rowmill estimate --pilot auto",
        )


def pilot_with(gateway: Gateway, ask: AskOptions) -> RunPilot:
    """Runs a pilot's rows through the pipeline, as any run would."""

    async def run(mirror: Mirror | None, job: Job, rows: frozenset[int]) -> dict[str, Any]:
        options = Options(ask.limit, sandbox=ask.sandbox, rows=rows)
        async with opened(job, options, gateway, mirror=mirror) as run:
            return await carry_out(run)

    return run


async def require_forecast_under(job: Job, most_usd: float, *, limit: int | None, sandbox: bool) -> None:
    """Forecast a run before its first call. Raises BudgetError where it may pass `most_usd`."""
    refuse_above(await estimate_job(job, AskOptions(limit=limit, sandbox=sandbox)), most_usd)


async def estimate_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill estimate JOB`."""
    from rowmill.flows.commands.run import gateway_for

    job = load_job(Path(args.job), overrides(args))
    ask = AskOptions(args.pilot, args.tokenizer, args.rows, args.compare, args.limit, args.sandbox)
    if ask.pilot is None:
        told = await estimate_job(job, ask)
    else:
        with gateway_for(job, sandbox=args.sandbox, settings=args.sandbox_settings) as gateway:
            if gateway is None:
                raise JobError("a pilot needs the key itself", where="api_key_block", hint="set ROWMILL_API_KEY")
            told = await estimate_job(job, ask, pilot_with(gateway, ask))
    if args.json:
        print(json.dumps(msgspec.to_builtins(told), indent=1))
    elif not args.quiet:
        print(forecast_text(told))
    return ExitCode.OK
