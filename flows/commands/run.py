"""Run: the `run` command. Refuses before Prefect is started, runs the flow or the bare pipeline, tells the end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rowmill.flows.commands.arguments import overrides
from rowmill.flows.commands.report import REPORT, leave_report
from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import Watch, carry_out
from rowmill.flows.text.display import watch_bar, watch_lines
from rowmill.flows.text.summary import summary
from rowmill.schemas.errors import ExitCode, JobError
from rowmill.schemas.job import Job
from rowmill.tasks.gateway.credentials import SANDBOX_KEY, Gateway, gateway_from
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.output.location import output_to_write
from rowmill.tasks.plan.input_checks import refuse_without_labels
from rowmill.tasks.run.manifest_builder import exit_code
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.run import FinishedRun, OpenRun
from rowmill.tasks.run.run_plan import Options

if TYPE_CHECKING:
    from rowmill.sandbox.settings import Settings


async def run_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill run JOB`. Raises RowmillError for what is refused before the first call."""
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
        from rowmill.flows.commands.estimate import require_forecast_under

        await require_forecast_under(job, args.require_forecast_under, limit=args.limit, sandbox=args.sandbox)
    # Standard output is for the result alone; Ray, for one, prints there.
    with (
        redirect_stdout(sys.stderr),
        gateway_for(job, sandbox=args.sandbox, settings=args.sandbox_settings) as gateway,
        output_to_write(job) as (local, mirror),
    ):
        async with opened(local, options, gateway or await _from_block(job), mirror=mirror) as run:
            if isinstance(run, FinishedRun):
                manifest = run.close()
            elif args.direct:
                manifest = await carry_out(run, watch=_watch(args))
            else:
                manifest = await _as_flow(job, options, run, _watch(args), labels=labels)
            already = run.nothing_to_do
        folder = Path(local.output)
        if not args.no_report and not (already and (folder / REPORT).exists()):
            leave_report(folder)
    _tell(args, job, manifest, run.progress, already=already)
    return exit_code(manifest)


def _watch(args: argparse.Namespace) -> Watch | None:
    if args.quiet:
        return None
    return watch_bar if sys.stderr.isatty() else watch_lines


@contextmanager
def gateway_for(job: Job, *, sandbox: bool, settings: str | None) -> Iterator[Gateway | None]:
    """Address and key; None where only the job's Secret block can tell. A sandbox lives as long as its run.

    Raises JobError for sandbox settings that cannot be read.
    """
    if sandbox:
        from rowmill.sandbox.process import spawn

        with spawn(_sandbox_settings(settings)) as running:
            told = (os.environ.get(name) for name in ("ROWMILL_CATALOGUE", "ROWMILL_REDIS_URL"))
            yield Gateway(running.base_url, SANDBOX_KEY, *told)
    elif job.api_key_block and not os.environ.get("ROWMILL_API_KEY"):
        yield None
    else:
        yield gateway_from(os.environ)


def _sandbox_settings(file: str | None) -> Settings:
    from rowmill.sandbox.settings import Settings, changed

    if file is None:
        return Settings()
    try:
        return changed(Settings(), json.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise JobError(f"no settings of a sandbox: {error}", where=file, hint="see rowmill sandbox --help") from None


async def _from_block(job: Job) -> Gateway:
    from rowmill.flows.extract import gateway_of

    return await gateway_of(job)


async def _as_flow(job: Job, options: Options, run: OpenRun, watch: Watch | None, *, labels: bool) -> dict[str, Any]:
    """The open run, carried out by the Prefect flow on the server that the user's settings name."""
    from prefect import tags

    from rowmill.flows.extract import TAG, flow_over

    try:
        with tags(TAG, run.model.name):
            state = await flow_over(run, watch, labels=labels)(
                job,
                limit=options.limit,
                fresh=options.fresh,
                retry_failed=options.retry_failed,
                sandbox=options.sandbox,
                return_state=True,
            )
    except RuntimeError as error:
        # What Prefect raises before the flow begins, such as an API that does not answer.
        if run.progress.settled:
            raise
        raise JobError(
            f"Prefect cannot be used: {error}",
            where="PREFECT_API_URL",
            hint="start that server, unset the address to use the embedded one, or run with --direct",
        ) from None
    if run.manifest is None:
        # The flow never came to its end: what it raised is a defect, or Prefect's own failure.
        await state.aresult()
    assert run.manifest is not None
    return run.manifest


def _tell(args: argparse.Namespace, job: Job, manifest: dict[str, Any], progress: Progress, *, already: bool) -> None:
    if args.json:
        print(json.dumps({**manifest, "output": job.output, "exit_code": int(exit_code(manifest))}))
    if args.quiet:
        return
    if already:
        print("rowmill: nothing to do, every row of this input has its outcome already", file=sys.stderr)
    print(summary(manifest, job.output, progress), file=sys.stderr)
