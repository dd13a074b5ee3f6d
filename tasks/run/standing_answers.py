"""Standing answers: the input as it is now, and what of the output still holds for it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass

import pyarrow as pa

from rowmill.tasks.input.kept_columns import KeptColumns
from rowmill.tasks.input.kept_types import is_typed
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.line_digests import LineDigests
from rowmill.tasks.input.survey import Survey, Surveyor
from rowmill.tasks.journal.ledger import Ledger
from rowmill.tasks.output.answer_cache import AnswerCache
from rowmill.tasks.output.columns import columns_of, kept_names
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.inventory import Inventory, take_inventory
from rowmill.tasks.output.known_rows import StandingRows
from rowmill.tasks.output.moved_rows import MovedRows, may_move
from rowmill.tasks.output.part_footer import Footer
from rowmill.tasks.output.reprojection import Projection
from rowmill.tasks.plan.input_checks import named_columns, refuse_bad_input, refuse_doubled, refuse_emptied
from rowmill.tasks.run.manifest_builder import ManifestBuilder
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.system.in_thread import in_thread


@dataclass(frozen=True, slots=True)
class SurveyedInput:
    """An input whose first rows are checked; `surveyor` goes on with the rest. `lines`: None where no row may move."""

    survey: Survey
    surveyor: Surveyor
    keys: KeyIndex
    lines: LineDigests | None
    schema: pa.Schema
    kept: KeptColumns


@dataclass(frozen=True, slots=True)
class StandingAnswers:
    """What of an output still holds, and where answers of rows that changed their place are found."""

    inventory: Inventory
    cache: AnswerCache
    projection: Projection
    moved: MovedRows | None


async def survey_input(
    plan: RunPlan, output: Output, parts: Mapping[int, Footer], *, builder: ManifestBuilder, stack: AsyncExitStack
) -> SurveyedInput:
    """Look through the input, by what parts tell of it where they do. `stack` closes what is opened.

    Raises InputError, JobError for what is refused, StorageError.
    """
    job = plan.job
    keys = stack.enter_context(KeyIndex(output.journal))
    # Where no row may move, nobody looks for a line.
    lines = stack.enter_context(closing(LineDigests(output.journal))) if may_move(job) else None
    keep = () if is_typed(plan.files) else kept_names(job)
    standing = StandingRows(
        output, parts, plan.fingerprint, keep=keep, named=job.id is not None, lines=lines is not None
    )
    surveyor = Surveyor(
        plan.files,
        id_column=job.id,
        keep=kept_names(job),
        keys=keys,
        sizes=output.part_sizes(parts),
        limit=builder.limit,
        max_line_bytes=job.limits.max_line_bytes,
        digests=lines,
        standing=standing,
        named=[name for names in named_columns(job).values() for name in names],
    )
    survey = await in_thread(surveyor.run_checked)
    refuse_emptied(survey, job, sum(footer.shard.rows for footer in parts.values()))
    refuse_doubled(job, plan.files)
    schema, types = columns_of(job, plan.validator.shape, survey, files=plan.files)
    if not is_typed(plan.files):
        plan.planner.keep_types = {name: types[name] for name in job.keep}
    kept = KeptColumns(
        plan.files,
        types,
        file_rows=survey.file_rows,
        states=builder.input_files,
        max_line_bytes=job.limits.max_line_bytes,
    )
    if not plan.options.merges:
        # What is wrong with rows that were asked was told before they were.
        refuse_bad_input(survey, job, plan.planner)
    return SurveyedInput(survey, surveyor, keys, lines, schema, kept)


async def find_standing(
    plan: RunPlan,
    output: Output,
    parts: Mapping[int, Footer],
    *,
    read: SurveyedInput,
    ledger: Ledger,
    stack: AsyncExitStack,
) -> StandingAnswers:
    """Set aside what no longer holds, and take stock of the rest. Raises OutputError, DamageError, StorageError."""
    job = plan.job
    cache = stack.enter_context(closing(AnswerCache(output.journal, plan.validator, plan.options.retry_failed)))
    inventory = await in_thread(
        take_inventory,
        output,
        parts,
        {shard.number: shard.digest for shard in read.survey.shards},
        cache=cache,
        ledger=ledger,
        fingerprint=plan.fingerprint,
        reopen=plan.options.retry_failed is not None,
    )
    cache.open()
    projection = Projection(read.schema, read.kept, plan.grader, plan.validator)
    moved = None
    if cache.parts and may_move(job):
        moved = await in_thread(MovedRows, cache.parts, read.schema, plan.validator, named=job.id is not None)
        stack.enter_context(closing(moved))
    return StandingAnswers(inventory, cache, projection, moved)
