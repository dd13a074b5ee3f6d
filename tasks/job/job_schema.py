"""Job schema: the JSON Schema of a job file, by which editors complete and check one."""

from __future__ import annotations

from typing import Any

from rowmill.schemas.job import Job

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def job_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a job file: each key with its description, and the short forms that a file may use."""
    schema = Job.model_json_schema(by_alias=True)
    schema["properties"] = {
        "$schema": {"type": "string", "description": "Where this schema stands, for editors"},
        **schema["properties"],
    }
    _allow_short_labels(schema["$defs"])
    return {"$schema": DIALECT, **schema, "title": "rowmill job"}


def _allow_short_labels(definitions: dict[str, Any]) -> None:
    """Labels may be plain names, or a mapping of names to what they mean."""
    name: dict[str, Any] = {"type": ["string", "integer"]}
    listed = {"type": "array", "items": {"anyOf": [name, {"$ref": "#/$defs/Choice"}]}}
    described = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
    labels = definitions["Label"]["properties"]["labels"]
    labels["anyOf"] = [listed, described, {"type": "null"}]
