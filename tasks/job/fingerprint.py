"""Fingerprint: what of a job its results depend on, so that a change is seen."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from rowmill.schemas.job import Job

# A change of one of these needs another output, or --fresh. The input, limits, retries and money may change.
AFFECTS_RESULTS = (
    "model", "id", "prompt", "system", "output_schema", "structured", "attachments", "tools",
)  # fmt: skip
SHOWN_AS = {"output_schema": "schema"}
SHORT = 40


def job_fingerprint(job: Job, *, sandbox: bool) -> tuple[str, dict[str, str]]:
    """blake2b-128 (hex) over all that affects results, and the same a key at a time, to name what changed."""
    told = job.model_dump(mode="json")
    keys: dict[str, Any] = {SHOWN_AS.get(key, key): told[key] for key in AFFECTS_RESULTS}
    # Streaming and not give the same row.
    keys["params"] = {name: value for name, value in told["params"].items() if name != "stream"}
    if job.label is not None:
        keys["label"] = job.label.identity() | {"gold": job.label.gold}
    if job.validator is not None:
        keys["validator"] = job.validator.rpartition("/")[2]
    keys["gateway"] = "sandbox" if sandbox else "gateway"
    shown = {key: _short(value) for key, value in keys.items()}
    return _hash(shown), shown


def _short(value: Any) -> str:
    text = msgspec.json.encode(value, order="deterministic").decode()
    return text if len(text) <= SHORT else _hash(value)


def _hash(value: Any) -> str:
    return blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=16).hexdigest()
