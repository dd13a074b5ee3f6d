"""Compare: the `compare` command, two outputs side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from schemas.errors import ExitCode, OutputError
from tasks.output import read_manifest


def compare_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill compare OUT_A OUT_B`. Raises OutputError where one of them holds no results."""
    folders = []
    for root in (Path(args.a), Path(args.b)):
        if not root.is_dir() or read_manifest(root) is None or not any((root / "results").glob("part-*.parquet")):
            raise OutputError("there are no results here", where=str(root), mend="name the output folder of a run")
        folders.append(root / "results")
    from tasks.compare import compare_text, compared

    told = compared(*folders)
    print(json.dumps(told, indent=1) if args.json else compare_text(told))
    return ExitCode.OK
