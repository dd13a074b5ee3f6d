"""History: the `history` command shows the runs of outputs over time, and what moved in them beyond chance."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rowmill.flows.text.history import history_text
from rowmill.schemas.errors import ExitCode, OutputError
from rowmill.schemas.history import RunRecord
from rowmill.tasks.output.history_source import bucket_history, history_at_hand
from rowmill.tasks.output.layout import MANIFEST


def history_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill history FOLDER...`. Raises OutputError where a folder is no output and holds none, DamageError."""
    from rowmill.tasks.report.run_history import method, night_value, nights_of

    outputs = {address: _records(address) for folder in args.folders for address in outputs_in(folder)}
    nights = nights_of(outputs)
    if args.json:
        print(json.dumps({"runs": [night_value(night) for night in nights], "method": method(nights)}, indent=1))
    else:
        print(history_text(nights, last=args.last))
    return ExitCode.OK


def outputs_in(folder: str) -> Sequence[str]:
    """The output itself, or those that a folder holds: one for each night, say. Raises OutputError for neither."""
    path = Path(folder)
    if "://" in folder or (path / MANIFEST).exists():
        return [folder.rstrip("/")]
    if found := sorted(str(one.parent) for one in path.glob(f"*/{MANIFEST}")):
        return found
    raise OutputError(
        "there is no run here (no run.json)", where=folder, hint="name output folders, or a folder that holds them"
    )


def _records(address: str) -> Sequence[RunRecord]:
    from rowmill.tasks.report.run_history import records_of

    if (records := bucket_history(address)) is not None:
        return records
    with history_at_hand(address) as (root, manifest):
        return records_of(root, manifest)
