"""Evidence plan: what a job with evidence sends in place of its schema, and which texts of a row may hold quotes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.json_text import encode_json
from rowmill.tasks.answers.evidence_answer import EvidenceValidator, Sources
from rowmill.tasks.answers.evidence_fields import evidence_fields
from rowmill.tasks.answers.evidence_schema import evidence_instruction, schema_with_evidence
from rowmill.tasks.answers.source_text import SourceText
from rowmill.tasks.plan.label_prompt import sent_label_schema
from rowmill.tasks.plan.named_columns import columns_named


def sent_schema(job: Job, *, native: bool) -> Any:
    """The schema as it reaches the model, in the protocol's own field (`native`) or in the prompt.

    Raises JobError where `evidence` names fields that it lacks.
    """
    if job.label is not None and job.output_schema is not None and job.label.is_named_once(native=native):
        assert isinstance(job.output_schema, dict)
        return sent_label_schema(job.label, job.output_schema)
    if not job.evidence:
        return job.output_schema
    return schema_with_evidence(evidence_fields(job.output_schema, job.evidence))


def added_instruction(job: Job) -> str | None:
    """What is said of the evidence beside the schema; None for a job without."""
    return evidence_instruction(evidence_fields(job.output_schema, job.evidence)) if job.evidence else None


def evidence_validator(job: Job) -> EvidenceValidator:
    """What judges the answers of a job with evidence. Raises JobError, SchemaError."""
    fields = evidence_fields(job.output_schema, job.evidence)
    return EvidenceValidator(fields, evidence_sources(job), job.validator, required=job.require_evidence)


def source_columns(job: Job) -> tuple[str, ...] | None:
    """The columns whose text a job's quotes may stand in; None for every column of the row."""
    if job.evidence_columns:
        return tuple(job.evidence_columns)
    named = columns_named(job.prompt or "")
    return None if named is None else tuple(name for name in named if name not in job.attachments)


def evidence_sources(job: Job) -> Sources:
    """What makes of a row's columns the texts that its quotes may stand in."""
    names = source_columns(job)
    excluded = frozenset([*job.attachments, job.gold_column])

    def sources(columns: Mapping[str, Any]) -> Mapping[str, SourceText]:
        wanted = [name for name in columns if name not in excluded] if names is None else names
        held = ((name, columns.get(name)) for name in wanted)
        return {name: SourceText(text) for name, value in held if (text := column_text(value))}

    return sources


def column_text(value: Any) -> str | None:
    """A column's value as the text that offsets count in; None where it is none: null, or bytes.

    Objects and lists are JSON.
    """
    if value is None or isinstance(value, (bytes, bytearray, memoryview)):
        return None
    if isinstance(value, str):
        return value
    return encode_json(value).decode() if isinstance(value, (dict, list)) else str(value)


def impossible_evidence(job: Job) -> list[JobError]:
    """Why the evidence that a job asks for cannot be had."""
    if not job.evidence:
        return []
    found = []
    if job.prompt is None:
        found.append(
            JobError(
                "rows that carry their own requests have no columns that a quote could stand in",
                where="evidence",
                hint='write a prompt over the column that holds the text, as in `prompt: "{{ prompt }}"`',
            )
        )
    elif source_columns(job) == ():
        what = "its attachments are no text" if job.attachments else "it names none"
        found.append(
            JobError(
                f"the prompt has no text column that a quote could stand in: {what}",
                where="evidence",
                hint="name a text column in the prompt, or in evidence_columns",
            )
        )
    try:
        evidence_fields(job.output_schema, job.evidence)
    except JobError as error:
        found.append(error)
    return found
