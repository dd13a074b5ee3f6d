"""Command line: arguments → a job → a flow; exit codes. Prefect is imported by `run` alone, and only when needed."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
from collections.abc import Sequence
from typing import Any

from rowmill.flows.commands.arguments import kind_or_job, parser
from rowmill.schemas.errors import ExitCode, RowmillError

# Rows make many short-lived objects and no cycles: looking for cycles after each 700 took a fifth of a run.
COLLECT_AFTER = 50_000


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code; a user's mistake is one line on stderr."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["sandbox"]:
        from rowmill.sandbox.__main__ import main as sandbox_main

        return sandbox_main(given[1:])
    args = parser().parse_args(kind_or_job(given))
    logging.basicConfig(stream=sys.stderr, format="rowmill: %(message)s", level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        # How a flow run ended is told by the summary; Prefect has its own line for its own logs.
        handler.addFilter(lambda record: record.name != "prefect.flow_runs")
    try:
        return int(_dispatch(args))
    except RowmillError as error:
        print(f"rowmill: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        return int(ExitCode.OK)


def _dispatch(args: argparse.Namespace) -> ExitCode:
    if args.version:
        from rowmill.tasks.run.manifest_builder import rowmill_version

        print(f"rowmill {rowmill_version()}")
        return ExitCode.OK
    if args.command in ("run", "label"):
        from rowmill.flows.commands.run import run_command

        return asyncio_run(run_command(args))
    if args.command == "estimate":
        from rowmill.flows.commands.estimate import estimate_command

        return asyncio_run(estimate_command(args))
    if args.command == "check":
        from rowmill.flows.commands.check import check_command

        return check_command(args)
    if args.command == "models":
        from rowmill.flows.commands.models import models_command

        return models_command(args)
    if args.command == "report":
        from rowmill.flows.commands.report import report_command

        return report_command(args)
    if args.command == "compare":
        from rowmill.flows.commands.compare import compare_command

        return compare_command(args)
    if args.command == "export":
        from rowmill.flows.commands.export import export_command

        return export_command(args)
    if args.command == "status":
        from rowmill.flows.commands.status import status_command

        return status_command(args)
    if args.command == "init":
        from rowmill.flows.commands.init import init_command

        return init_command(args)
    parser().print_help()
    return ExitCode.REFUSED


def asyncio_run(main_coroutine: Any) -> ExitCode:
    """Run on uvloop where it is installed, with the collector told that the modules loaded by now will stay."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 100)
    from rowmill.tasks.system.event_loop import fastest_loop

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        code: ExitCode = runner.run(main_coroutine)
        return code


if __name__ == "__main__":
    sys.exit(main())
