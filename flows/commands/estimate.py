"""Estimate: the `estimate` command forecasts what a job will cost, with a pilot if one is asked for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import msgspec

from rowmill.flows.commands.arguments import overrides
from rowmill.flows.orchestration.estimate_job import estimate_job
from rowmill.flows.orchestration.estimation import EstimateOptions
from rowmill.flows.orchestration.pilot import pilot_with
from rowmill.schemas.errors import ExitCode
from rowmill.tasks.job.job_file import load_job


async def estimate_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill estimate JOB`."""
    from rowmill.flows.orchestration.gateway_access import gateway_for

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
        print(str(result))
    return ExitCode.OK
