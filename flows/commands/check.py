"""Check: the `check` command validates a job, its schema and its rows, and shows what would be sent."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rowmill.flows.commands.arguments import overrides
from rowmill.schemas.catalogue import Model, find_model
from rowmill.schemas.display_text import counted, one_line, several_lines
from rowmill.schemas.errors import ExitCode, RowmillError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row, Unreadable
from rowmill.schemas.usage import Usage
from rowmill.tasks.answers.schema_checks import unknown_keywords
from rowmill.tasks.fields.grading import Grader, MalformedGoldError
from rowmill.tasks.fields.sums import GoldSums
from rowmill.tasks.fields.tree import MISSING
from rowmill.tasks.forecast.prior import guessed_output
from rowmill.tasks.forecast.tokens import by_script
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.input import reader as read
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.listing import reading_notes
from rowmill.tasks.input.stored import is_stored, take_input
from rowmill.tasks.input.survey import Survey, Surveyor
from rowmill.tasks.job.checks import notes
from rowmill.tasks.job.job_file import catalogue_of, load_job
from rowmill.tasks.labelling.cascade import cascade_notes
from rowmill.tasks.labelling.label_run import LabelRun, label_run
from rowmill.tasks.output.columns import columns_of, json_text_notes, kept_names
from rowmill.tasks.output.manifest_file import read_manifest
from rowmill.tasks.output.part_grades import grader_of
from rowmill.tasks.plan.input_checks import bad_input, impossible, refuse_doubled
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.pack_planner import plan_pack, rows_at_most
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.vote_planners import planned_votes

PROBLEMS_SHOWN = 20
LABELS_SHOWN = 12
# Encoded media: nobody reads them, and a photo is megabytes.
ENCODED = re.compile(r"(?:data:[^,]*,)?[A-Za-z0-9+/_-]{200,}={0,2}")
ENCODED_SHOWN = 60


def check_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill check JOB`: exit 0 if every row can be asked, 2 if the job or a row is refused. Sends nothing.

    Problems of the job and of the input as a whole are reported together, one line each; otherwise row by row.
    """
    with ExitStack() as stack:
        return _checked(args, stack)


def _checked(args: argparse.Namespace, stack: ExitStack) -> ExitCode:
    job = load_job(Path(args.job), overrides(args))
    found: list[RowmillError] = []
    files: list[InputFile] = []
    model: Model | None = None
    rows_wrong = 0
    scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="rowmill-"))
    with _collecting(found):
        if is_stored(job):
            take_input(job, Path(scratch), anew=True)
        files = read.job_files(job, Path(scratch))
    with _collecting(found):
        catalogue = catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE"))
        model = find_model(job.model, catalogue)
        found += impossible(job, model)
    if model is not None and files:
        with _collecting(found):
            labelling = label_run(job, files, model, gold_file=None, fresh=False)
            resolved = job if labelling is None else labelling.job
            planned_votes(resolved, model, catalogue, sandbox=False)
            rows_wrong = _check_rows(
                as_asked(resolved), model, catalogue, files=files, labelling=labelling, show=args.show, found=found
            )
    # The same refusal can come twice: of the job's model, and of that model as a voter.
    for message in dict.fromkeys(map(str, found)):
        print(f"rowmill: {message}", file=sys.stderr)
    return ExitCode.REFUSED if found or rows_wrong else ExitCode.OK


@contextmanager
def _collecting(found: list[RowmillError]) -> Iterator[None]:
    """Collect the error of a step, so that the other steps are checked too."""
    try:
        yield
    except RowmillError as error:
        found.append(error)


def _check_rows(
    job: Job,
    model: Model,
    catalogue: Mapping[str, Model],
    *,
    files: list[InputFile],
    labelling: LabelRun | None,
    show: int,
    found: list[RowmillError],
) -> int:
    """Add the input's problems to `found`; if there are none, plan every row. Returns how many cannot be asked."""
    planner = Planner(job, model, sandbox=False)
    survey = _survey(job, files)
    found += bad_input(survey, job, planner)
    validator = validator_of(job)
    grader: Grader | None = None
    with _collecting(found):
        refuse_doubled(job, files)
        columns_of(job, validator.shape, survey, files=files)
        grader = grader_of(job, validator.shape)
    if found:
        return 0
    for note in [
        *reading_notes(files),
        *notes(job, model),
        *unknown_keywords(job.output_schema),
        *json_text_notes(validator.shape),
    ]:
        print(one_line(f"note: {note}"))
    gold = GoldSums()
    problems, shown = _walk(
        job, planner, survey, files=files, show=max(show, 1) * job.pack_size, see=partial(_read_gold, grader, gold)
    )
    if labelling is not None:
        for note in _cascade(labelling, model, catalogue, shown=shown):
            print(one_line(f"note: {note}"))
    for body in _calls(shown, model, job.pack_size)[:show]:
        wire = PROTOCOLS[model.protocol].wire(body, stream=job.params.stream)
        print(several_lines(json.dumps(_shortened(json.loads(wire)), indent=1, ensure_ascii=False)))
    if labelling is not None:
        print(one_line(_labels(labelling)))
    for line in _fields(job, gold):
        print(one_line(line))
    print(f"{counted(survey.rows, 'row')}, {survey.rows - len(problems):,} can be asked, {len(problems):,} cannot")
    for problem in problems[:PROBLEMS_SHOWN]:
        print(one_line(f"  {problem}"))
    if len(problems) > PROBLEMS_SHOWN:
        print(f"  and {len(problems) - PROBLEMS_SHOWN:,} more")
    return len(problems)


def _calls(shown: Sequence[Request], model: Model, rows_per_call: int) -> list[dict[str, Any]]:
    """The bodies that would be sent for the first rows: theirs, or where rows share calls those of their calls. The
    tokens that tell rows apart are others each time.
    """
    waiting: dict[int, list[Request]] = {}
    bodies: list[dict[str, Any]] = []
    for request in shown:
        group = waiting.setdefault(id(request.common), [])
        group.append(request)
        if request.common is None or len(group) == rows_at_most(request, model, rows_per_call):
            bodies.append(_body(waiting.pop(id(request.common)), model))
    return [*bodies, *(_body(group, model) for group in waiting.values())]


def _body(group: Sequence[Request], model: Model) -> dict[str, Any]:
    return group[0].body if len(group) == 1 else plan_pack(group, model, random.Random(0)).body


def _shortened(value: Any) -> Any:
    """A request's body with its encoded media cut to their beginning and their length."""
    if isinstance(value, str) and ENCODED.fullmatch(value):
        return f"{value[:ENCODED_SHOWN]}... ({len(value):,} characters)"
    if isinstance(value, dict):
        return {key: _shortened(part) for key, part in value.items()}
    return [_shortened(part) for part in value] if isinstance(value, list) else value


def _cascade(
    labelling: LabelRun, model: Model, catalogue: Mapping[str, Model], *, shown: Sequence[Request]
) -> list[str]:
    """Whether the cascade of a job can pay, by its first request."""
    escalate = labelling.label.escalate
    if escalate is None or not shown:
        return []
    wire = PROTOCOLS[model.protocol].wire(shown[0].body, stream=False).decode("utf-8", "replace")
    usage = Usage(round(by_script(wire)), round(guessed_output(labelling.job, model)))
    before = read_manifest(Path(labelling.job.output)) or Manifest()
    return cascade_notes(labelling.label, model, find_model(escalate.model, catalogue), usage=usage, before=before)


def _labels(labelling: LabelRun) -> str:
    label = labelling.label
    examples = 0 if isinstance(label.examples, int) else len(label.examples)
    names = ", ".join(label.names[:LABELS_SHOWN]) + (" ..." if len(label.names) > LABELS_SHOWN else "")
    votes = f"up to {label.votes} votes" if label.votes > 1 else "1 vote"
    stronger = f", then {label.escalate.model} below {label.escalate.below:g}" if label.escalate else ""
    return (
        f"{counted(len(label.names), 'label')} ({names}); {votes} per row{stronger}; "
        f"{counted(labelling.gold.rows, 'row')} with gold, {counted(examples, 'example')} shown"
    )


def _read_gold(grader: Grader | None, gold: GoldSums, row: Row) -> None:
    """Count a row's gold: as one with an output, without any, or with what is none."""
    if grader is None:
        return
    try:
        told = grader.read(row.columns.get(grader.gold.column))
    except MalformedGoldError as error:
        gold.note_malformed(row.row_id, str(error))
    else:
        gold.rows += told is not MISSING
        gold.blank += told is MISSING


def _fields(job: Job, gold: GoldSums) -> Iterator[str]:
    """How rows are answered and scored, where that is more than one answer each."""
    if job.has_votes and job.votes is not None:
        stronger = f", then {job.escalate.model} below {job.escalate.below:g}" if job.escalate else ""
        yield f"fields by majority of {job.fewest_votes} to {job.most_votes} votes per row{stronger}"
    if job.gold is not None:
        yield f"gold in column {job.gold.column!r}: {counted(gold.rows, 'row')}, {gold.blank:,} without"
        for row_id, why in gold.malformed_rows[:PROBLEMS_SHOWN]:
            yield f"note: the gold of row {row_id} is no output and will not be scored: {why}"
        if gold.malformed > PROBLEMS_SHOWN:
            yield f"note: and {counted(gold.malformed - PROBLEMS_SHOWN, 'more row')} like these"


def _survey(job: Job, files: list[InputFile]) -> Survey:
    with tempfile.TemporaryDirectory(prefix="rowmill-") as folder, KeyIndex(Path(folder)) as keys:
        return Surveyor(
            files,
            id_column=job.id,
            keep=kept_names(job),
            keys=keys,
            sizes={},
            limit=None,
            max_line_bytes=job.limits.max_line_bytes,
        ).run_checked()


def _walk(
    job: Job, planner: Planner, survey: Survey, *, files: list[InputFile], show: int, see: Callable[[Row], None]
) -> tuple[list[str], list[Request]]:
    """Plan every row that was read: problems with file and line, and the first requests."""
    problems: list[str] = []
    shown: list[Request] = []
    for shard in survey.shards:
        for row in read.shard_rows(shard, files, job.id, max_line_bytes=job.limits.max_line_bytes):
            planned: Any = row if isinstance(row, Unreadable) else planner.plan(row)
            if isinstance(row, Row):
                see(row)
            if isinstance(planned, Unreadable):
                problems.append(planned.message)
            elif isinstance(planned, Outcome):
                assert isinstance(row, Row)
                problems.append(f"{row.place}: {planned.error_message}")
            elif len(shown) < show:
                shown.append(planned)
    return problems, shown
