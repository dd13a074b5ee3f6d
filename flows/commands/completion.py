"""Completion: the `completion` command prints a script that completes rowmill's commands and flags in a shell."""

from __future__ import annotations

import argparse

from rowmill.flows.commands.arguments import parser
from rowmill.schemas.errors import ExitCode, JobError


def completion_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill completion bash|zsh|fish`. Raises JobError where shtab, which writes the script, is not installed."""
    try:
        import shtab
    except ImportError:
        raise JobError(
            "shell completion needs shtab", where="rowmill completion", hint="pip install 'rowmill[completion]'"
        ) from None
    print(shtab.complete(parser(), shell=args.shell))
    return ExitCode.OK
