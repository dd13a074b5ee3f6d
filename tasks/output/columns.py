"""Columns: the results schema of a job, the same for every part of its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import pyarrow as pa

from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import InputError
from rowmill.schemas.job import Job
from rowmill.schemas.kept_values import KeepTypes
from rowmill.schemas.output_schema import Shape
from rowmill.schemas.results import (
    FIELD_AGREEMENT,
    FIELD_CORRECT,
    OPTIONAL,
    RESERVED,
    label_columns,
    results_schema,
    votes_type,
)
from rowmill.tasks.fields.tree import field_tree
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.kept_types import is_typed, kept_types
from rowmill.tasks.input.survey import Survey
from rowmill.tasks.output.part_columns import output_metadata
from rowmill.tasks.output.part_grades import GOLD

# Fields that are named one by one.
NOTED = 10


def kept_names(job: Job) -> list[str]:
    """The input columns that stand in the results: the id under its own name, then those of `keep`.

    An id whose name the results use themselves stands in `row_id` alone, unless `keep` asks for it: that is refused.
    """
    own_id = [job.id] if job.id is not None and job.id not in RESERVED and job.id not in job.keep else []
    return [*own_id, *job.keep]


def columns_of(
    job: Job, shape: Shape, survey: Survey, *, files: Sequence[InputFile]
) -> tuple[pa.Schema, Mapping[str, pa.DataType]]:
    """The schema, and the types of the columns that are read again from the input: those that are kept, and gold.

    Raises JobError where a kept column bears the name of a results column, InputError where it differs between files
    so that no type holds both unchanged, or cannot be written.
    """
    keep = kept_types(files, job.keep, survey.keep_types)
    if len(names := kept_names(job)) > len(keep):
        # Nobody asked for the id: where it drifts from file to file, it stands in `row_id` alone.
        with suppress(InputError):
            keep = kept_types(files, names[:1], survey.keep_types) | keep
    optional = [(column.name, column.type) for column in OPTIONAL if column.when is None or column.when(job)]
    if job.label is not None:
        optional += label_columns(multi=job.label.multi, weighed=job.label.is_weighed)
    if job.has_votes:
        optional += [("votes", votes_type()), (FIELD_AGREEMENT, field_tree(shape).struct(pa.float64()))]
    metadata = output_metadata(job.output_schema, shape)
    if job.gold is not None:
        optional.append((FIELD_CORRECT, field_tree(shape).struct(pa.bool_())))
        metadata |= {GOLD: job.gold.model_dump_json(exclude_defaults=True)}
    return results_schema(keep, shape.type, optional, metadata=metadata), {**_gold_type(job, files), **keep}


def _gold_type(job: Job, files: Sequence[InputFile]) -> Mapping[str, pa.DataType]:
    """The type in which gold is read: JSON text, or what typed files state."""
    if job.gold is None:
        return {}
    name = job.gold.column
    return kept_types(files, [name], KeepTypes()) if is_typed(files) else {name: pa.string()}


def json_text_notes(shape: Shape) -> list[str]:
    """What a user should know of the fields of `output` that are JSON text."""
    fields = shape.json_text_fields
    notes = [f"output{field.pointer} is JSON text, not a typed field: {field.reason}" for field in fields[:NOTED]]
    return (
        notes
        if len(fields) <= NOTED
        else [*notes, f"and {counted(len(fields) - NOTED, 'more field')} of output like these"]
    )
