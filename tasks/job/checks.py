"""Checks of a job by itself: what it is missing, and what its user should know before the money is spent."""

from __future__ import annotations

from difflib import get_close_matches

from rowmill.schemas.catalogue import Model
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.outcome import retry_kinds
from rowmill.tasks.job.native_schema import goes_native


def refuse_without_labels(job: Job) -> None:
    """Raises JobError where a job that is to label names no labels."""
    if job.label is None:
        raise JobError(
            "the job has no labels",
            where="label",
            hint="add `label: {labels: [...]}` to it; `rowmill run` is for jobs with a schema",
        )


def notes(job: Job, model: Model) -> list[str]:
    """What a user should know before the money is spent, and that is no mistake."""
    found = []
    if job.output_schema is not None and (job.tools or job.params.search) and not goes_native(job, model):
        what = "search" if job.params.search else "tools"
        found.append(f"{what} and a native schema exclude each other on {model.name}: the schema goes into the prompt")
    limit = job.params.max_output_tokens
    if limit is not None and job.pack_size * limit > model.max_output_tokens:
        found.append(
            f"answers of {model.name} have at most {model.max_output_tokens:,} tokens and each row may take {limit:,}; "
            f"{max(1, model.max_output_tokens // limit):,} rows share a call, not {job.pack_size}"
        )
    if job.evidence and job.attachments:
        found.append(
            "quotes are looked up in text columns alone: a value that is read from an attachment has no evidence"
        )
    if job.is_capped and job.params.max_output_tokens is None:
        found.append(
            f"without params.max_output_tokens each call may cost what {model.max_output_tokens:,} output tokens cost; "
            "under a cap this limits how many calls are in flight at a time"
        )
    return found


def refuse_unknown_kind(kind: str | None) -> None:
    """Raises JobError for a `--retry-failed` that no row could have."""
    if kind is not None and kind not in retry_kinds():
        close = get_close_matches(kind, retry_kinds(), 1)
        raise JobError(
            f"{kind!r} is neither a status nor an error kind" + (f"; did you mean {close[0]}?" if close else ""),
            where="--retry-failed",
            hint=f"known: {', '.join(retry_kinds())}",
        )
