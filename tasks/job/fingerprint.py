"""Fingerprint: what of a job its results depend on, so that a change is seen. Each key says so itself."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from rowmill.schemas.job import Job
from rowmill.schemas.manifest import GATEWAY
from rowmill.schemas.section import Affects, identity

SHORT = 40


def job_fingerprint(job: Job, *, sandbox: bool) -> tuple[str, dict[str, str]]:
    """blake2b-128 (hex) over all that affects results, and the same a key at a time, to name what changed.

    A change of one of these keys needs another output, or --fresh.
    """
    keys: dict[str, Any] = identity(job, {Affects.ANSWERS, Affects.RESULTS})
    if job.label is not None:
        # The order of the labels counts though nobody names it.
        keys["label"] |= job.label.identity()
    if job.validator is not None:
        # The same class in another folder, as where the job was moved.
        keys["validator"] = job.validator.rpartition("/")[2]
    keys[GATEWAY] = "sandbox" if sandbox else "gateway"
    shown = {key: _short(value) for key, value in keys.items()}
    return _hash(shown), shown


def _short(value: Any) -> str:
    text = msgspec.json.encode(value, order="deterministic").decode()
    return text if len(text) <= SHORT else _hash(value)


def _hash(value: Any) -> str:
    return blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=16).hexdigest()
