"""Tune: the `tune` command compares ways of asking on gold rows and marks the cheapest that holds a target."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import msgspec

from rowmill.flows.commands.arguments import overrides
from rowmill.flows.orchestration.tune_job import TUNED, TuneOptions, refuse_uncomparable, tune_job
from rowmill.flows.text.tuning import tuning_text
from rowmill.schemas.errors import ExitCode
from rowmill.tasks.job.job_file import load_job


async def tune_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill tune JOB --target X --budget USD`. Exit 0 if a plan was marked, 3 if none was.

    Raises JobError, InputError for what cannot be compared, BudgetError where the gateway stops everything.
    """
    from rowmill.flows.orchestration.gateway_access import gateway_for

    if args.quiet:
        logging.getLogger("rowmill").setLevel(logging.ERROR)
    job = load_job(Path(args.job), overrides(args))
    options = TuneOptions(args.target, args.budget, args.margin, args.limit, args.seed, args.sandbox)
    refuse_uncomparable(job, options)
    with gateway_for(job, sandbox=args.sandbox, settings=args.sandbox_settings) as gateway:
        if gateway is None:
            from rowmill.flows.orchestration.gateway_access import gateway_of

            gateway = await gateway_of(job)
        tuning = await tune_job(job, options, gateway)
    if args.json:
        print(json.dumps(msgspec.to_builtins(tuning), indent=1, ensure_ascii=False))
    elif not args.quiet:
        print(tuning_text(tuning, Path(job.output, TUNED)))
    return ExitCode.OK if tuning.chosen is not None else ExitCode.ROWS_NOT_OK
