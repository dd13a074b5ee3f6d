"""Prior: what a row is expected to cost before anything is known of the answers."""

from __future__ import annotations

import math
from typing import Any

from rowmill.schemas.catalogue import Model
from rowmill.schemas.forecast import Sample
from rowmill.schemas.job import Job
from rowmill.schemas.price import PICO
from rowmill.tasks.forecast.evidence_tokens import evidence_output
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.pack_planner import rows_within

THOUGHTS_GUESS = {"high": 1_000.0, "low": 200.0, None: 1_000.0}
TEXT_GUESS = 300.0
# What names a row in the answer to several.
ENTRY_GUESS = 14.0
TYPE_GUESS = {"integer": 3.0, "number": 5.0, "boolean": 1.0, "null": 1.0, "string": 12.0}
ITEMS_GUESS = 3
# What an output token costs beside an input token where the catalogue has no price.
OUTPUT_WEIGHT = 5.0


def guessed_output(job: Job, model: Model) -> float:
    """Output tokens of one answer where nothing is known: the schema's size and the thinking asked for. A prior."""
    rows = rows_a_call(job, model)
    schema = as_asked(job).output_schema
    answer = (_size(schema) if isinstance(schema, dict) else TEXT_GUESS) + evidence_output(job)
    entry = ENTRY_GUESS if rows > 1 else 0.0
    thoughts = guessed_thoughts(job, model)
    return min(answer + entry + thoughts, job.params.max_output_tokens or model.max_output_tokens)


def guessed_thoughts(job: Job, model: Model) -> float:
    """Tokens of thoughts before one answer, for each row of its call, where nothing is known. A prior."""
    thinking = job.params.thinking if model.thinking_levels else "low"
    # How much longer a model thinks about several rows is not known: between once for all and once for each.
    return THOUGHTS_GUESS[thinking] / math.sqrt(rows_a_call(job, model))


def rows_a_call(job: Job, model: Model) -> int:
    """Rows that share one call."""
    return rows_within(job.pack_size, job.params.max_output_tokens, model)


def calls_a_row(job: Job, sample: Sample | None) -> float:
    """Calls that one row takes: as seen, or for votes halfway between the fewest and the most, none escalated."""
    if sample is not None:
        return sample.calls_a_row
    return (job.fewest_votes + job.most_votes) / 2


def expected_usd(job: Job, model: Model) -> tuple[float, float]:
    """(USD of a row, USD of each of its estimated input tokens): how likely a pilot is to draw a row.

    Without a price any unit serves: only proportions matter.
    """
    price = model.price
    each, output = (price.input_usd / PICO, price.output_usd / PICO) if price else (1.0, OUTPUT_WEIGHT)
    if not each and not output:
        each, output = 1.0, OUTPUT_WEIGHT
    return guessed_output(job, model) * output, each


def _size(schema: Any, depth: int = 0) -> float:
    """Tokens of a JSON value that meets a schema, roughly."""
    if not isinstance(schema, dict) or depth > 8:
        return TYPE_GUESS["string"]
    if "enum" in schema:
        return 3.0
    if "properties" in schema:
        return 2 + sum(4 + len(name) / 6 + _size(part, depth + 1) for name, part in schema["properties"].items())
    if "items" in schema:
        return 2 + ITEMS_GUESS * (1 + _size(schema["items"], depth + 1))
    told = schema.get("type")
    return TYPE_GUESS.get(told[0] if isinstance(told, list) and told else str(told), TYPE_GUESS["string"])
