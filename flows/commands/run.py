"""Run: the `run` and `label` commands. What can be refused is refused before Prefect starts."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from rowmill.flows.commands.arguments import overrides
from rowmill.flows.orchestration.gateway_access import gateway_for, gateway_of
from rowmill.flows.orchestration.metrics import both, metrics_at
from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import Watch, carry_out
from rowmill.flows.orchestration.run_report import REPORT, leave_report
from rowmill.flows.text.display import watch_bar, watch_lines
from rowmill.flows.text.summary import summary
from rowmill.schemas.display_text import counted, one_line
from rowmill.schemas.errors import ExitCode, JobError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.price import usd
from rowmill.tasks.job.checks import refuse_unknown_kind, refuse_without_labels
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.output.location import output_to_write
from rowmill.tasks.run.finished_run import FinishedRun
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.run import OpenRun
from rowmill.tasks.run.run_plan import Options


async def run_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill run JOB`. Raises RowmillError for what is refused before the first call."""
    refuse_unknown_kind(args.retry_failed)
    job = load_job(Path(args.job), overrides(args))
    if args.quiet:
        logging.getLogger("rowmill").setLevel(logging.ERROR)
    labels = args.command == "label"
    if labels:
        refuse_without_labels(job)
    options = Options(
        args.limit,
        args.fresh,
        args.retry_failed,
        args.sandbox,
        args.fresh_part,
        gold=args.gold if labels else None,
        gold_by=args.gold_by if labels else None,
    )
    if args.require_forecast_under is not None:
        from rowmill.flows.orchestration.estimate_job import require_forecast_under

        await require_forecast_under(job, args.require_forecast_under, limit=args.limit, sandbox=args.sandbox)
        options = replace(options, as_taken=True)
    if args.approve_over is not None:
        job = await _approved(job, args)
    # Standard output is for the result alone, and libraries such as Ray print there.
    with (
        redirect_stdout(sys.stderr),
        metrics_at(args.metrics) as metrics,
        gateway_for(job, sandbox=args.sandbox, settings=args.sandbox_settings) as gateway,
        output_to_write(job) as (local, mirror),
    ):
        async with opened(local, options, gateway or await gateway_of(job), mirror=mirror) as run:
            watch = both(_watch(args), metrics.watch if metrics is not None else None)
            if metrics is not None:
                metrics.follow(run)
            if isinstance(run, OpenRun) and run.begins_anew and not (args.quiet or args.sandbox):
                print(_new_output(run, job.output), file=sys.stderr, flush=True)
            if isinstance(run, FinishedRun):
                manifest = await run.close()
            elif args.direct:
                manifest = await carry_out(run, watch=watch)
            else:
                manifest = await _as_flow(job, options, run, watch=watch, labels=labels)
            already = run.nothing_to_do
        folder = Path(local.output)
        if not args.no_report and not (already and (folder / REPORT).exists()):
            leave_report(folder)
    _print_result(args, job, manifest, progress=run.progress, already=already)
    return manifest.exit_code


async def _approved(job: Job, args: argparse.Namespace) -> Job:
    """The job under a sum that was approved. Raises JobError where nobody is there to approve, or the answer is no."""
    from rowmill.flows.orchestration.approval import Bill, approved, ask_terminal, refuse, rounded

    def approve(bill: Bill) -> Decimal:
        if args.yes:
            return rounded(bill.most)
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise refuse(bill, args.approve_over)
        return ask_terminal(bill)

    return await approved(job, args.approve_over, limit=args.limit, sandbox=args.sandbox, approve=approve)


def _new_output(run: OpenRun, output: str) -> str:
    """Before anything is paid in an output of which nothing is known; somebody may have deleted it."""
    usd_guess = run.first_guess_usd()
    about = "" if usd_guess is None else f", about {usd(usd_guess)} (a rough guess; rowmill estimate tells more)"
    rows = counted(run.progress.total, "row") + ("" if run.progress.total_is_exact else " or more")
    return one_line(f"rowmill: {output} is a new output, nothing is known of earlier runs: {rows} to ask{about}")


def _watch(args: argparse.Namespace) -> Watch | None:
    if args.quiet:
        return None
    return watch_bar if sys.stderr.isatty() else watch_lines


async def _as_flow(job: Job, options: Options, run: OpenRun, *, watch: Watch | None, labels: bool) -> Manifest:
    """Run the open run as a Prefect flow, on the server that the user's Prefect settings name."""
    from prefect import tags

    from rowmill.flows.extract import TAG, flow_over, shown_job

    try:
        with tags(TAG, run.model.name):
            state = await flow_over(run, watch, labels=labels)(
                shown_job(job),
                limit=options.limit,
                fresh=options.fresh,
                retry_failed=options.retry_failed,
                sandbox=options.sandbox,
                return_state=True,
            )
    except RuntimeError as error:
        # Prefect raises this before the flow begins, for example when its API does not answer.
        if run.progress.settled:
            raise
        raise JobError(
            f"Prefect cannot be used: {error}",
            where="PREFECT_API_URL",
            hint="start that server, unset PREFECT_API_URL to use the embedded one, or run with --direct",
        ) from None
    if run.manifest is None:
        # The flow failed on its way: a defect of ours or a failure of Prefect's, raised here.
        await state.aresult()
    assert run.manifest is not None
    return run.manifest


def _print_result(args: argparse.Namespace, job: Job, manifest: Manifest, *, progress: Progress, already: bool) -> None:
    if args.json:
        print(json.dumps({**manifest.as_dict(), "output": job.output, "exit_code": int(manifest.exit_code)}))
    if args.quiet:
        return
    if already:
        print("rowmill: nothing to do, every row of this input is settled already", file=sys.stderr)
    print(summary(manifest, job.output, progress), file=sys.stderr)
