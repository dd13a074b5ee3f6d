"""Run plan: what one execution is to do, made before its output is touched."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rowmill.schemas.catalogue import Model, find_model, in_sandbox
from rowmill.schemas.job import Job
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.fields.grading import Grader
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.input.divide import refuse_moved
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.listing import job_files, reading_notes
from rowmill.tasks.input.stored import is_stored, store_frame, stored_in, take_input
from rowmill.tasks.job.checks import notes
from rowmill.tasks.job.fingerprint import job_fingerprint
from rowmill.tasks.job.job_file import catalogue_of
from rowmill.tasks.labelling.field_gate import FieldGate, field_gate
from rowmill.tasks.labelling.gate import GoldGate
from rowmill.tasks.labelling.label_run import LabelRun, label_run
from rowmill.tasks.output.folder_lock import refuse_in_use
from rowmill.tasks.output.layout import segments_in
from rowmill.tasks.output.manifest_file import read_manifest
from rowmill.tasks.output.part_grades import grader_of
from rowmill.tasks.plan.input_checks import refuse_impossible
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.vote_planners import Votes, planned_votes
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")


@dataclass(frozen=True, slots=True)
class Options:
    """What a command adds to its job. `limit` is the number of rows to take at most, from the input's beginning.

    `rows` names the only ones to ask now (a pilot's); the others stay for a later run. `gold` is a file of labels that
    people gave, `gold_by` the one who decides where they disagree. `resumes` tells that the same flow run was at it
    before and was suspended, so that what its first start set still holds. `as_taken`: rows that were
    stored a moment ago, for a forecast, are not taken anew. `merges`: the output was made of the parts of a split job.
    `frame` is a file of rows that a caller has handed over, in place of standard input.
    """

    limit: int | None = None
    fresh: bool = False
    retry_failed: str | None = None
    sandbox: bool = False
    fresh_part: int | None = None
    rows: frozenset[int] | None = None
    gold: str | None = None
    gold_by: str | None = None
    resumes: bool = False
    as_taken: bool = False
    merges: bool = False
    frame: Path | None = None


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One execution of a job: `job` as it is asked, `address` where its output stands for people."""

    run_id: str
    job: Job
    address: str
    options: Options
    gateway: Gateway
    model: Model
    votes: Votes
    files: Sequence[InputFile]
    labelling: LabelRun | None
    field_gate: FieldGate | None
    planner: Planner
    validator: Validator
    grader: Grader | None
    fingerprint: str
    fingerprint_keys: Mapping[str, str]

    @property
    def gold_gate(self) -> GoldGate | None:
        """What the gold rows have to show before the others are asked."""
        return self.labelling or self.field_gate

    @property
    def models(self) -> list[Model]:
        """The models that may be asked: the job's, and any that it escalates to."""
        return [model for model, _ in self.votes.values()] or [self.model]


def take_rows(job: Job, *, anew: bool = False, keeps: bool = False, frame: Path | None = None) -> None:
    """Store what the job's input gives, where that cannot be read twice, in its output's folder; or a `frame`'s rows.

    A query is asked again where the run before was finished, where none has begun (an estimate stores its rows too), or
    `anew`; `keeps`: never where it is there already.
    Raises InputError, OutputError where a run holds the output, StorageError.
    """
    root = Path(job.output)
    if not is_stored(job) or (keeps and stored_in(root) is not None):
        return
    if root.is_dir():
        refuse_in_use(root)
    if frame is not None:
        store_frame(frame, root)
        return
    before = read_manifest(root)
    goes_on = bool(segments_in(root / "journal")) if before is None else not before.is_complete
    take_input(job, root, anew=anew or not goes_on)


def plan_run(job: Job, options: Options, gateway: Gateway, *, clock: Clock, address: str | None = None) -> RunPlan:
    """Check what needs no output, and decide what will be asked of whom. Reads the input's list, writes nothing.

    Raises JobError, CatalogueError, SchemaError, InputError.
    """
    run_id = f"{datetime.fromtimestamp(clock.wall(), UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    catalogue = catalogue_of(job, gateway.catalogue)
    if options.sandbox:
        catalogue = {name: in_sandbox(known) for name, known in catalogue.items()}
    model = find_model(job.model, catalogue)
    files = job_files(job)
    if job.part_of is not None:
        refuse_moved(job.part_of, files, job.limits.max_line_bytes)
    for note in reading_notes(files):
        log.warning("%s", note)
    labelling = label_run(
        job, files, model, gold_file=options.gold, fresh=options.fresh, limit=options.limit, gold_by=options.gold_by
    )
    job = labelling.job if labelling else job
    asked = as_asked(job)
    refuse_impossible(asked, model)
    votes = planned_votes(job, model, catalogue, sandbox=options.sandbox)
    for note in notes(asked, model):
        log.warning("%s", note)
    fingerprint, keys = job_fingerprint(job, sandbox=options.sandbox)
    validator = validator_of(asked)
    return RunPlan(
        run_id=run_id,
        job=job,
        address=address or job.output,
        options=options,
        gateway=gateway,
        model=model,
        votes=votes,
        files=files,
        labelling=labelling,
        field_gate=field_gate(job, files, options.limit) if options.rows is None else None,
        planner=Planner(asked, model, sandbox=options.sandbox, run_id=run_id),
        validator=validator,
        grader=grader_of(job, validator.shape),
        fingerprint=fingerprint,
        fingerprint_keys=keys,
    )
