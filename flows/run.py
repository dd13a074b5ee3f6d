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

from flows.arguments import overrides
from flows.display import watch_bar, watch_lines
from flows.pipeline import Watch, carry_out
from flows.report import REPORT, leave_report
from flows.summary import summary
from schemas.errors import ExitCode, JobError
from schemas.job import Job
from tasks.at_hand import output_to_write
from tasks.check import refuse_without_labels
from tasks.gateway.access import SANDBOX_KEY, Gateway, gateway_from
from tasks.job_file import load_job
from tasks.ledger import exit_code
from tasks.progress import Progress
from tasks.session import Options, Session

if TYPE_CHECKING:
    from sandbox.settings import Settings


async def run_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill run JOB`. Raises RowmillError for what is refused before the first call."""
    job = load_job(Path(args.job), overrides(args))
    if args.quiet:
        logging.getLogger("rowmill").setLevel(logging.ERROR)
    labels = args.command == "label"
    if labels:
        refuse_without_labels(job)
    options = Options(
        args.limit, args.fresh, args.retry_failed, args.sandbox, args.fresh_part, gold=args.gold if labels else None
    )
    if args.require_forecast_under is not None:
        from flows.dry_run import require_forecast_under

        await require_forecast_under(job, args.require_forecast_under, limit=args.limit, sandbox=args.sandbox)
    # Standard output is for the result alone; Ray, for one, prints there.
    with (
        redirect_stdout(sys.stderr),
        gateway_for(job, sandbox=args.sandbox, settings=args.sandbox_settings) as gateway,
        output_to_write(job) as (at_hand, replica),
    ):
        async with Session(at_hand, options, gateway or await _from_block(job), replica=replica) as session:
            if session.nothing_to_do:
                manifest = session.finish()
            elif args.direct:
                manifest = await carry_out(session, watch=_watch(args))
            else:
                manifest = await _as_flow(job, options, session, _watch(args), labels=labels)
            already = session.nothing_to_do
        folder = Path(at_hand.output)
        if not args.no_report and not (already and (folder / REPORT).exists()):
            leave_report(folder)
    _tell(args, job, manifest, session.progress, already=already)
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
        from sandbox.process import spawn

        with spawn(_sandbox_settings(settings)) as running:
            told = (os.environ.get(name) for name in ("ROWMILL_CATALOGUE", "ROWMILL_REDIS_URL"))
            yield Gateway(running.base_url, SANDBOX_KEY, *told)
    elif job.api_key_block and not os.environ.get("ROWMILL_API_KEY"):
        yield None
    else:
        yield gateway_from(os.environ)


def _sandbox_settings(file: str | None) -> Settings:
    from sandbox.settings import Settings, changed

    if file is None:
        return Settings()
    try:
        return changed(Settings(), json.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise JobError(f"no settings of a sandbox: {error}", where=file, mend="see rowmill sandbox --help") from None


async def _from_block(job: Job) -> Gateway:
    from flows.extract import gateway_of

    return await gateway_of(job)


async def _as_flow(
    job: Job, options: Options, session: Session, watch: Watch | None, *, labels: bool
) -> dict[str, Any]:
    """The open session, carried out by the Prefect flow on the server that the user's settings name."""
    from prefect import tags

    from flows.extract import PREPARED, TAG, WATCH, extract
    from flows.label import label

    PREPARED.set(session)
    WATCH.set(watch)
    try:
        with tags(TAG, session.model.name):
            state = await (label if labels else extract)(
                job,
                limit=options.limit,
                fresh=options.fresh,
                retry_failed=options.retry_failed,
                sandbox=options.sandbox,
                return_state=True,
            )
    except RuntimeError as error:
        # What Prefect raises before the flow begins, such as an API that does not answer.
        if session.progress.settled:
            raise
        raise JobError(
            f"Prefect cannot be used: {error}",
            where="PREFECT_API_URL",
            mend="start that server, unset the address to use the embedded one, or run with --direct",
        ) from None
    if session.manifest is None:
        # The flow never came to its end: what it raised is a defect, or Prefect's own failure.
        await state.aresult()
    assert session.manifest is not None
    return session.manifest


def _tell(args: argparse.Namespace, job: Job, manifest: dict[str, Any], progress: Progress, *, already: bool) -> None:
    if args.json:
        print(json.dumps({**manifest, "output": job.output, "exit_code": int(exit_code(manifest))}))
    if args.quiet:
        return
    if already:
        print("rowmill: nothing to do, every row of this input has its outcome already", file=sys.stderr)
    print(summary(manifest, job.output, progress), file=sys.stderr)
