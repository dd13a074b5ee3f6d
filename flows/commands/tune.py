"""Tune: the `tune` command compares ways of asking on gold rows and marks the cheapest that holds a target."""

from __future__ import annotations

import argparse
import json
import logging
import os
from pathlib import Path
from typing import Any

import msgspec
import yaml

from rowmill.flows.commands.arguments import overrides
from rowmill.flows.orchestration.tuning import Race, Stopped, asked_with
from rowmill.flows.text.tuning import tuning_text
from rowmill.schemas.catalogue import find_model
from rowmill.schemas.errors import BudgetError, ExitCode, JobError, OutputError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import EXIT_CODES, TerminationKind
from rowmill.schemas.price import PICO
from rowmill.schemas.quote import Quote
from rowmill.schemas.tuning import ComparedPlan, Tuning
from rowmill.tasks.forecast.files import output_folder
from rowmill.tasks.input.reader import job_files
from rowmill.tasks.job.job_file import STANDARD_INPUT, catalogue_of, load_job
from rowmill.tasks.labelling.label_run import label_run
from rowmill.tasks.output.folder import write_file
from rowmill.tasks.output.location import in_bucket
from rowmill.tasks.tuning.gold_rows import gold_rows
from rowmill.tasks.tuning.plans import Plan, plans_of
from rowmill.tasks.tuning.race import Terms, rounds

TUNE, TUNED = "tune.json", "tuned.yaml"


async def tune_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill tune JOB --target X --budget USD`. Exit 0 if a plan was marked, 3 if none was.

    Raises JobError, InputError for what cannot be compared, BudgetError where the gateway stops everything.
    """
    from rowmill.flows.commands.run import gateway_for

    if args.quiet:
        logging.getLogger("rowmill").setLevel(logging.ERROR)
    job = load_job(Path(args.job), overrides(args))
    if args.margin >= args.target:
        raise JobError(
            f"the margin {args.margin:g} leaves nothing of the target {args.target:g}",
            where="--margin",
            hint="name a smaller one",
        )
    _refuse_unreadable_twice(job)
    with gateway_for(job, sandbox=args.sandbox, settings=args.sandbox_settings) as gateway:
        if gateway is None:
            raise JobError("tune needs the key itself", where="api_key_block", hint="set ROWMILL_API_KEY")
        catalogue = catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE"))
        if job.label is not None and job.label.column is not None:
            # The labels are known once the column is read, and are the same for every plan.
            known = label_run(job, job_files(job), find_model(job.model, catalogue), None, fresh=False)
            job = known.job if known is not None else job
        gold = gold_rows(job, args.limit, args.seed)
        plans = plans_of(job, catalogue)
        terms = Terms(args.target, args.margin, len(plans), len(rounds(len(gold.choosing))))
        asked = asked_with(gateway, sandbox=args.sandbox)
        race = Race(plans, gold, terms, int(args.budget * PICO), asked)
        try:
            await race.decide()
        except Stopped as error:
            race.reason = f"the gateway stopped it: {error}"
            _write(job, race.result(), plans)
            raise _stopped(error) from None
    tuning = race.result()
    _write(job, tuning, plans)
    if args.json:
        print(json.dumps(msgspec.to_builtins(tuning), indent=1, ensure_ascii=False))
    elif not args.quiet:
        print(tuning_text(tuning, Path(job.output, TUNED)))
    return ExitCode.OK if tuning.chosen is not None else ExitCode.ROWS_NOT_OK


def _refuse_unreadable_twice(job: Job) -> None:
    if job.input == STANDARD_INPUT:
        raise JobError(
            "standard input can be read once, and every plan reads the rows",
            where="input",
            hint="write the rows to a file, and name it",
        )
    if in_bucket(job.output):
        raise OutputError(
            "plans are compared in a folder on this machine",
            where=job.output,
            hint="tune with -o FOLDER, and give tuned.yaml the bucket as its output",
        )


def _stopped(error: Stopped) -> BudgetError:
    end = error.termination
    stopped = BudgetError(f"the comparison stopped: {end['message']}", where=end["kind"], hint=end["next"])
    stopped.exit_code = EXIT_CODES[TerminationKind(end["kind"])]
    return stopped


def _write(job: Job, tuning: Tuning, plans: list[Plan]) -> None:
    """Write `tune.json`, and `tuned.yaml` where a plan was marked. Raises OutputError, StorageError."""
    output = Path(job.output)
    output_folder(output)
    write_file(output / TUNE, json.dumps(msgspec.to_builtins(tuning), indent=1, ensure_ascii=False).encode())
    chosen = next((plan for plan in plans if plan.name == tuning.chosen), None)
    if chosen is None:
        (output / TUNED).unlink(missing_ok=True)
        return
    told = next(plan for plan in tuning.plans if plan.name == chosen.name)
    head = (
        f"# Chosen by rowmill tune: {told.accuracy:.1%} right of {told.rows:,} gold rows that did not choose it\n"
        f"# (95 % interval {told.low:.1%} to {told.high:.1%}; the target was {tuning.target:.1%}).\n"
        "# Its output holds the gold rows that were paid for: a run goes on from there.\n"
    )
    keys = _keys(chosen.job, tuning, told)
    text = yaml.safe_dump(keys, allow_unicode=True, sort_keys=False, width=110)
    write_file(output / TUNED, (head + text).encode())


def _keys(job: Job, tuning: Tuning, plan: ComparedPlan) -> dict[str, Any]:
    """The job as a file: what is not a default. It is held to the quote by the gold rows that come first."""
    keys: dict[str, Any] = job.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    floor = round(tuning.target - tuning.margin, 6)
    if job.label is not None and not job.label.has_gate:
        keys["label"]["min_accuracy"] = floor
    if job.gold is not None and job.gold.min_accuracy is None:
        keys["gold"]["min_accuracy"] = floor
    keys["quote"] = {"target": tuning.target, "margin": tuning.margin} | {
        name: getattr(plan, name) for name in Quote.model_fields if hasattr(plan, name)
    }
    return keys
