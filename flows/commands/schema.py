"""Schema: the `schema` command prints the JSON Schema of a job file, for editors that complete and check it."""

from __future__ import annotations

import json

from rowmill.schemas.errors import ExitCode
from rowmill.schemas.job import Job


def schema_command() -> ExitCode:
    """`rowmill schema`."""
    print(schema_text(), end="")
    return ExitCode.OK


def schema_text() -> str:
    """The schema as JSON text, ending in a line feed."""
    return json.dumps(Job.model_json_schema(by_alias=True), indent=2, ensure_ascii=False) + "\n"
