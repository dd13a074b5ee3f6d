"""Schema: the `schema` command prints the JSON Schema of a job file, for editors that complete and check it."""

from __future__ import annotations

import argparse
import json

from rowmill.schemas.errors import ExitCode
from rowmill.tasks.job.job_schema import job_schema


def schema_command(_: argparse.Namespace) -> ExitCode:
    """`rowmill schema`."""
    print(schema_text(), end="")
    return ExitCode.OK


def schema_text() -> str:
    """The schema as JSON text, ending in a line feed."""
    return json.dumps(job_schema(), indent=2, ensure_ascii=False) + "\n"
