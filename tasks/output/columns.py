"""Columns: the results schema of a job, the same for every part its output will ever have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from rowmill.schemas.job import Job
from rowmill.schemas.output_schema import Shape
from rowmill.schemas.results import OPTIONAL, label_columns, results_schema
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.survey import Survey, parquet_keep_types
from rowmill.tasks.output.part_writer import output_metadata


def columns_of(
    job: Job, shape: Shape, survey: Survey, files: Sequence[InputFile], standing: pa.Schema | None
) -> tuple[pa.Schema, Mapping[str, pa.DataType]]:
    """The schema, and the types of the kept columns: those of a part that stands, else the input's.

    Raises JobError where a kept column bears the name of a results column.
    """
    types = survey.keep_types.arrow(job.keep) | parquet_keep_types(files, job.keep)
    if standing is not None:
        types |= {name: standing.field(name).type for name in job.keep if name in standing.names}
    keep = {name: types[name] for name in job.keep}
    asked = {"thoughts": job.params.include_thoughts, "grounding": job.params.search, "tool_calls": bool(job.tools)}
    optional = [(name, OPTIONAL[name]) for name, wanted in asked.items() if wanted]
    if job.label is not None:
        optional += label_columns(multi=job.label.multi)
    return results_schema(keep, shape.type, optional, output_metadata(job.output_schema)), keep
