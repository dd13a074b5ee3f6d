"""Evidence schema: the schema that is sent where an answer comes with quotes: `output` as the job wants it, and beside
it `evidence`, a list of fields with their quotes.

The quotes stand beside the answer and not in it: every keyword of the job's schema keeps its meaning, whatever it
refers to, and the answer is what it would be without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.schemas.request import EVIDENCE_INSTRUCTION
from rowmill.tasks.answers.evidence_fields import EVERY, EvidenceFields

OUTPUT, EVIDENCE = "output", "evidence"
# What stands at the root of a schema, where references look for it, and is read by some providers there alone.
AT_ROOT = ("$schema", "$defs", "definitions")
VALUES = ("const", "default", "enum", "example", "examples")


def schema_with_evidence(fields: EvidenceFields) -> dict[str, Any]:
    """The schema that is sent for a job whose `fields` come with evidence."""
    schema = fields.schema if isinstance(fields.schema, Mapping) else {"not": {}} if fields.schema is False else {}
    at_root: dict[str, Any] = {}
    if not _names_itself(schema):
        at_root = {name: _moved(schema[name]) for name in AT_ROOT if name in schema}
        schema = {name: _moved(part) if name not in VALUES else part for name, part in schema.items()}
        schema = {name: _reference(part) if name == "$ref" else part for name, part in schema.items()}
    field: dict[str, Any] = {"type": "string", "description": "JSON Pointer of a value in `output`"}
    if fields.names:
        field["enum"] = list(fields.names)
    entry = {
        "type": "object",
        "properties": {
            "field": field,
            "quote": {"type": "string", "description": "Passage of the text, copied character for character"},
        },
        "required": ["field", "quote"],
        "additionalProperties": False,
    }
    declared = {name: part for name, part in at_root.items() if name == "$schema"}
    definitions = {name: part for name, part in at_root.items() if name != "$schema"}
    return {
        **declared,
        "type": "object",
        "properties": {
            OUTPUT: {name: part for name, part in schema.items() if name not in at_root},
            EVIDENCE: {"type": "array", "items": entry},
        },
        "required": [OUTPUT, EVIDENCE],
        "additionalProperties": False,
        **definitions,
    }


def evidence_instruction(fields: EvidenceFields) -> str:
    """What the model is told of it, beside the schema."""
    if not fields.patterns:
        which = "every value in `output`"
    else:
        which = f"each value at {', '.join(fields.patterns)}"
        if any(EVERY in pattern.split("/") for pattern in fields.patterns):
            which += " (* is the number of each item)"
    return EVIDENCE_INSTRUCTION.format(which=which)


def _names_itself(schema: Mapping[str, Any]) -> bool:
    """Whether a schema has an address of its own, which its references go by wherever it stands."""
    return isinstance(schema.get("$id", schema.get("id")), str)


def _moved(part: Any) -> Any:
    """A part of a schema, its references pointing to where their targets stand now."""
    if isinstance(part, list):
        return [_moved(one) for one in part]
    if not isinstance(part, Mapping):
        return part
    made = {}
    for name, inner in part.items():
        if name == "$ref":
            made[name] = _reference(inner)
        else:
            made[name] = inner if name in VALUES and not isinstance(inner, Mapping) else _moved(inner)
    return made


def _reference(told: Any) -> Any:
    if not isinstance(told, str) or not (told == "#" or told.startswith("#/")):
        return told if not isinstance(told, Mapping) else _moved(told)
    if told.startswith(("#/$defs/", "#/definitions/")):
        return told
    return f"#/properties/{OUTPUT}{told[1:]}"
