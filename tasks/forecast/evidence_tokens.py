"""Evidence tokens: what the quotes of a job add to each call, before anything is known of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.schemas.catalogue import Model
from rowmill.schemas.job import Job
from rowmill.schemas.price import PICO, usd
from rowmill.schemas.usage import Usage
from rowmill.tasks.answers.evidence_fields import EVERY, evidence_fields
from rowmill.tasks.answers.validator import schema_text
from rowmill.tasks.forecast.tokens import by_script
from rowmill.tasks.plan.evidence_plan import added_instruction, sent_schema

# Tokens of one entry with its field and quote, and how many items a list has, where nothing is known.
ENTRY_GUESS, ITEMS_GUESS = 30.0, 3
DEPTH_MOST = 8


def evidence_output(job: Job) -> float:
    """Output tokens that the quotes of one answer take, roughly; 0 without evidence."""
    if not job.evidence:
        return 0.0
    fields = evidence_fields(job.output_schema, job.evidence)
    if not fields.patterns:
        return ENTRY_GUESS * _values(job.output_schema)
    lists = (pattern.split("/").count(EVERY) for pattern in fields.patterns)
    return ENTRY_GUESS * sum(float(ITEMS_GUESS**depth) for depth in lists)


def evidence_input(job: Job) -> float:
    """Input tokens that asking for quotes takes in each call, roughly."""
    sent, own = schema_text(sent_schema(job, native=False)), schema_text(job.output_schema)
    return by_script(sent) - by_script(own) + by_script(added_instruction(job) or "")


def evidence_note(job: Job, model: Model) -> str | None:
    """What the quotes of a job cost, for whoever decides on them; None without evidence."""
    if not job.evidence:
        return None
    added = Usage(round(evidence_input(job)), round(evidence_output(job)))
    cost = f", {usd(1_000 * model.price.of(added).usd / PICO)} per 1,000 rows" if model.price else ""
    return f"quotes add about {added.input:,} input and {added.output:,} output tokens to each call{cost}"


def _values(schema: Any, depth: int = 0) -> float:
    """Values of an answer that meets a schema, roughly."""
    if not isinstance(schema, Mapping) or depth > DEPTH_MOST:
        return 1.0
    if isinstance(schema.get("properties"), Mapping):
        return sum(_values(part, depth + 1) for part in schema["properties"].values())
    if isinstance(schema.get("items"), Mapping):
        return ITEMS_GUESS * _values(schema["items"], depth + 1)
    return 1.0
