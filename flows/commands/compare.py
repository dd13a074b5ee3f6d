"""Compare: the `compare` command puts two outputs side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rowmill.schemas.errors import ExitCode, OutputError
from rowmill.tasks.output.location import output_to_read
from rowmill.tasks.output.manifest_file import read_manifest
from rowmill.tasks.output.results_frame import result_parts


def compare_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill compare OUT_A OUT_B`. Raises OutputError if one of them has no results."""
    with output_to_read(args.a) as a, output_to_read(args.b) as b:
        return _compare(a, b, as_json=args.json)


def _compare(a: Path, b: Path, *, as_json: bool) -> ExitCode:
    folders = []
    for root in (a, b):
        if not root.is_dir() or read_manifest(root) is None or not result_parts(root / "results"):
            raise OutputError("there are no results here", where=str(root), hint="name the output folder of a run")
        folders.append(root / "results")
    from rowmill.tasks.report.compare import compare_text, compared

    comparison = compared(*folders)
    print(json.dumps(comparison, indent=1) if as_json else compare_text(comparison))
    return ExitCode.OK
