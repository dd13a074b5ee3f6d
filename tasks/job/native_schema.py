"""Native schema: whether a job's schema travels in the protocol's own field, or in the prompt."""

from __future__ import annotations

from typing import Any

from rowmill.schemas.catalogue import Model
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job


def goes_native(job: Job, model: Model) -> bool:
    """Whether the schema travels in the protocol's own field. Raises JobError where the job forces the impossible.

    Source: "tools and response_format are mutually exclusive"; the Flash page documents no response schema.
    """
    if job.output_schema is None or job.structured == "prompt":
        return False
    with_tools = bool(job.tools) or job.params.search
    if job.structured == "native":
        if with_tools and not model.native_schema_with_tools:
            raise JobError(
                f"{model.name} takes no native schema together with tools",
                where="structured",
                hint="use structured: auto or prompt",
            )
        return True
    # With evidence, whatever the schema says is a field of the object that is sent.
    is_object = bool(job.evidence) or (
        isinstance(job.output_schema, dict) and job.output_schema.get("type") == "object"
    )
    return model.native_schema and is_object and (not with_tools or model.native_schema_with_tools)


def schema_name(schema: Any) -> str:
    """The name under which a schema travels: its title, in the characters that the protocol takes."""
    title = schema.get("title", "") if isinstance(schema, dict) else ""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "_-") else "_" for char in str(title))
    return plain[:64] or "answer"
