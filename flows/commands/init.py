"""Init: the `init` command creates a small job to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from rowmill.flows.commands.schema import schema_text
from rowmill.schemas.errors import ExitCode, OutputError

JOB_SCHEMA = "job.schema.json"
JOB = f"""\
# yaml-language-server: $schema={JOB_SCHEMA}
# A small job: `rowmill run job.yaml --sandbox` tries it without paying anything.
name: support-tickets
model: gemini-3-pro              # or gemini-3-flash
input: tickets.jsonl
id: ticket_id
prompt: |
  Extract the order from this ticket.

  {{{{ body }}}}
system: You are precise. Use only what the ticket says.
schema: ticket.schema.json
keep: [received_on]
params: {{thinking: low, max_output_tokens: 1024}}
limits: {{concurrency: 16}}
max_cost_usd: 1.00
output: out/tickets
"""
TICKETS = """\
{"ticket_id": "T-1", "received_on": "2026-03-02", "body": "Order 4711 came without its lid. Please send one."}
{"ticket_id": "T-2", "received_on": "2026-03-02", "body": "I was charged twice for order 4712, 19.90 each time."}
{"ticket_id": "T-3", "received_on": "2026-03-03", "body": "Where do I find the manual of the blue kettle?"}
"""
SCHEMA = """\
{
  "type": "object",
  "additionalProperties": false,
  "required": ["order_number", "kind", "summary"],
  "properties": {
    "order_number": {"type": ["integer", "null"], "description": "null where the ticket names none"},
    "kind": {"enum": ["missing part", "billing", "question", "other"]},
    "summary": {"type": "string", "minLength": 1}
  }
}
"""
FILES = {"job.yaml": JOB, "tickets.jsonl": TICKETS, "ticket.schema.json": SCHEMA}


def init_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill init DIR`. Raises OutputError if one of the files exists already: nothing is overwritten."""
    folder = Path(args.dir)
    files = {**FILES, JOB_SCHEMA: schema_text()}
    existing = [name for name in files if (folder / name).exists()]
    if existing:
        raise OutputError(f"{existing[0]} exists already", where=str(folder), hint="name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror}", where=str(folder), hint="name a folder you can write to"
        ) from None
    print(f"wrote {', '.join(files)} to {folder}")
    print(f"next: rowmill check {folder / 'job.yaml'}, then rowmill run {folder / 'job.yaml'} --sandbox")
    return ExitCode.OK
