"""Report: the `report` command, which writes an output's page again."""

from __future__ import annotations

import argparse

from rowmill.flows.orchestration.run_report import write_report
from rowmill.schemas.display_text import one_line
from rowmill.schemas.errors import ExitCode
from rowmill.tasks.output.layout import MANIFEST
from rowmill.tasks.output.location import output_held


def report_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill report OUT` writes OUT/report.html again. Raises OutputError if there is no run."""
    from rowmill.flows.orchestration.tune_job import read_tuning, write_tuning_page

    with output_held(args.out) as (root, _):
        tuning = None if (root / MANIFEST).exists() else read_tuning(root)
        page = write_report(root) if tuning is None else write_tuning_page(root, tuning)
    print(one_line(f"{args.out.rstrip('/')}/{page.name}"))
    return ExitCode.OK
