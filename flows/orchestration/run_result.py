"""Run result: the manifest as the result of a flow run's state: bounded in size, whatever the input is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.schemas.json_text import encode_json

RESULT_MOST = 256 * 1024
# What may be long, the least wanted first; run.json has it all.
LONG = (
    "course", "sessions", "parts", "field_quality", "label", "canary", "forecast", "json_text_fields", "input", "job",
    "fields", "fingerprint",
)  # fmt: skip


def run_result(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest; where it is longer than 256 KiB without its longest parts, which `left_out` names then.

    A manifest holds names of blocks and variables, never a key.
    """
    result = dict(manifest)
    left_out = []
    for name in LONG:
        if len(encode_json(result)) <= RESULT_MOST:
            break
        if result.pop(name, None):
            left_out.append(name)
    return {**result, "left_out": left_out} if left_out else result
