"""Check: the `check` command validates a job, its schema and its rows, and shows what would be sent."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from flows.arguments import overrides
from schemas.catalogue import find_model
from schemas.errors import ExitCode
from schemas.job import Job
from schemas.outcome import Outcome
from schemas.request import Request
from schemas.row import Row, Unreadable
from tasks import read
from tasks.check import notes, refuse_bad_input, refuse_impossible
from tasks.gateway.codec import CODECS
from tasks.job_file import catalogue_of, load_job
from tasks.keys import KeyIndex
from tasks.label_run import LabelRun, label_run, planned_votes
from tasks.labels import as_asked
from tasks.plan import Planner
from tasks.survey import Survey, Surveyor
from tasks.validate import Validator

PROBLEMS_SHOWN = 20
LABELS_SHOWN = 12


def check_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill check JOB`: exit 0 where every row can be asked, 2 where the job or a row cannot. Sends nothing."""
    job = load_job(Path(args.job), overrides(args))
    catalogue = catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE"))
    model = find_model(job.model, catalogue)
    labelling = label_run(job, model, None, fresh=False)
    if labelling is not None:
        planned_votes(labelling.job, model, catalogue, sandbox=False)
    job = as_asked(labelling.job if labelling is not None else job)
    refuse_impossible(job, model)
    for note in notes(job, model):
        print(f"note: {note}")
    Validator(job.output_schema)
    planner = Planner(job, model, sandbox=False)
    files = read.input_files(job.input)
    survey = _survey(job, files)
    refuse_bad_input(survey, job, planner)
    problems, shown = _walk(job, planner, survey, files, args.show)
    for request in shown:
        wire = CODECS[model.protocol].wire(request.body, stream=job.params.stream)
        print(json.dumps(json.loads(wire), indent=1, ensure_ascii=False))
    if labelling is not None:
        print(_labels(labelling))
    print(f"{survey.rows:,} rows, {survey.rows - len(problems):,} can be asked, {len(problems):,} cannot")
    for problem in problems[:PROBLEMS_SHOWN]:
        print(f"  {problem}")
    if len(problems) > PROBLEMS_SHOWN:
        print(f"  and {len(problems) - PROBLEMS_SHOWN:,} more")
    return ExitCode.REFUSED if problems else ExitCode.OK


def _labels(told: LabelRun) -> str:
    label = told.label
    examples = 0 if isinstance(label.examples, int) else len(label.examples)
    names = ", ".join(label.names[:LABELS_SHOWN]) + (" ..." if len(label.names) > LABELS_SHOWN else "")
    votes = f"{label.votes} votes" if label.votes > 1 else "1 vote"
    stronger = f", then {label.escalate.model} below {label.escalate.below:g}" if label.escalate else ""
    return (
        f"{len(label.names)} labels ({names}); {votes} a row at most{stronger}; {told.gold.rows:,} rows with gold, "
        f"{examples} examples shown"
    )


def _survey(job: Job, files: list[Path]) -> Survey:
    with tempfile.TemporaryDirectory(prefix="rowmill-") as folder, KeyIndex(Path(folder, "keys.sqlite")) as keys:
        return Surveyor(
            files,
            id_column=job.id,
            keep=job.keep,
            keys=keys,
            sizes={},
            limit=None,
            max_line_bytes=job.limits.max_line_bytes,
        ).run_checked()


def _walk(job: Job, planner: Planner, survey: Survey, files: list[Path], show: int) -> tuple[list[str], list[Request]]:
    """Plan every checked row: what is wrong, by file and line, and the first requests."""
    problems: list[str] = []
    shown: list[Request] = []
    for shard in survey.shards:
        for row in read.shard_rows(shard, files, job.id, job.limits.max_line_bytes):
            planned: Any = row if isinstance(row, Unreadable) else planner.plan(row)
            if isinstance(planned, Unreadable):
                problems.append(planned.message)
            elif isinstance(planned, Outcome):
                assert isinstance(row, Row)
                problems.append(f"{row.file}, line {row.line}: {planned.error_message}")
            elif len(shown) < show:
                shown.append(planned)
    return problems, shown
