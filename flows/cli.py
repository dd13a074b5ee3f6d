"""Command line: arguments to a command, errors to one line and an exit code. Prefect is imported only where needed."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from rowmill.flows.commands.arguments import kind_or_job, name_outputs, parser
from rowmill.flows.text.log_lines import LogFormatter
from rowmill.schemas.errors import ExitCode, RowmillError, StorageError
from rowmill.tasks.system.durable import hint_of

# Rows make many short-lived objects and no cycles: collecting after every 700 took a fifth of a run.
COLLECT_AFTER = 50_000
# Defaults for this process and its children. Prefect reads them when it is first imported.
PREFECT_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # The embedded server's own default, 20 s, is too short on a slow disk.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
}
# Imports and Prefect's server take seconds: this comes before both.
STARTING = "rowmill: opening the job, then starting Prefect's server (some seconds; --direct runs without it)"
# Where each command stands in `commands`. It is imported when it is asked for: others need not wait for what it needs.
COMMANDS = {
    "run": ("run", "run_command"),
    "label": ("run", "run_command"),
    "estimate": ("estimate", "estimate_command"),
    "tune": ("tune", "tune_command"),
    "check": ("check", "check_command"),
    "models": ("models", "models_command"),
    "report": ("report", "report_command"),
    "compare": ("compare", "compare_command"),
    "history": ("history", "history_command"),
    "export": ("export", "export_command"),
    "view": ("view", "view_command"),
    "status": ("status", "status_command"),
    "split": ("split", "split_command"),
    "merge": ("split", "merge_command"),
    "init": ("init", "init_command"),
    "schema": ("schema", "schema_command"),
    "completion": ("completion", "completion_command"),
}
NO_WINDOWS = "rowmill: Windows itself is not supported. Run rowmill in WSL (wsl --install), as on Linux"


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code; a user's mistake is one line on stderr."""
    if importlib.util.find_spec("fcntl") is None:
        print(NO_WINDOWS, file=sys.stderr)
        return int(ExitCode.REFUSED)
    _set_prefect_defaults()
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["sandbox"]:
        from rowmill.sandbox.__main__ import main as sandbox_main

        return sandbox_main(given[1:])
    args = parser().parse_args(kind_or_job(given))
    logging.basicConfig(stream=sys.stderr, format="rowmill: %(message)s", level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(LogFormatter("rowmill: %(message)s"))
        # The summary says how a flow run ended; Prefect's own line would repeat it.
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
    except OSError as error:
        if error.filename is None or (hint := hint_of(error)) is None:
            raise
        # A file or a folder that this machine does not give: no defect, wherever it was met.
        print(
            f"rowmill: {StorageError(str(error.strerror), where=os.fsdecode(error.filename), hint=hint)}",
            file=sys.stderr,
        )
        return int(ExitCode.REFUSED)


def _set_prefect_defaults() -> None:
    """A quiet, offline Prefect, unless the user's environment says otherwise. A worker's process keeps its settings."""
    if "PREFECT__FLOW_RUN_ID" not in os.environ:
        for name, value in PREFECT_DEFAULTS.items():
            os.environ.setdefault(name, value)


def _dispatch(args: argparse.Namespace) -> ExitCode:
    if args.version:
        from rowmill import __version__

        print(f"rowmill {__version__}")
        return ExitCode.OK
    name_outputs(args)
    if args.command not in COMMANDS:
        parser().print_help()
        return ExitCode.REFUSED
    if args.command in ("run", "label") and not (args.direct or args.quiet):
        print(STARTING, file=sys.stderr, flush=True)
    module, function = COMMANDS[args.command]
    told = getattr(import_module(f"rowmill.flows.commands.{module}"), function)(args)
    return asyncio_run(told) if asyncio.iscoroutine(told) else ExitCode(told)


def asyncio_run(main_coroutine: Any) -> ExitCode:
    """Run on uvloop where it is installed. What is loaded by now stays, so the garbage collector skips it."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 100)
    from rowmill.tasks.system.event_loop import fastest_loop

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        code: ExitCode = runner.run(main_coroutine)
        return code


if __name__ == "__main__":
    sys.exit(main())
