"""Own request: a row that carries its request itself, in one of the two protocols → the body that is sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.schemas.catalogue import Model
from rowmill.schemas.request import AskOptions
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS

# Which protocol a row's own request speaks, by the column that holds it.
TURN_COLUMNS = {codec.TURNS_COLUMN: name for name, codec in PROTOCOLS.items()}
BATCH_COLUMNS = {codec.BATCH_COLUMN: name for name, codec in PROTOCOLS.items()}
# What can be said in either protocol, or is set by rowmill on every call.
COMMON_FIELDS = frozenset({*TURN_COLUMNS, "systemInstruction", "system_instruction", "model", "stream"})
NESTING_MOST = 200


def own_request(columns: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A row's own request and its protocol (None for a plain `prompt`). Raises ValueError where it carries none."""
    for column, protocol in BATCH_COLUMNS.items():
        if isinstance(columns.get(column), dict):
            return columns[column], protocol
    for column, protocol in TURN_COLUMNS.items():
        if isinstance(columns.get(column), list):
            return {column: columns[column]}, protocol
    if isinstance(columns.get("prompt"), str):
        return {"prompt": columns["prompt"]}, None
    raise ValueError("the job has no `prompt`, and the row has no prompt, messages, contents, body or request")


def own_body(request: dict[str, Any], protocol: str, ask: AskOptions, *, model: Model) -> dict[str, Any]:
    """The wire body of a row's own request, in its own protocol or turned into the model's.

    Raises ValueError for what the model's protocol cannot say.
    """
    if _is_nested_deeper(request, NESTING_MOST):
        raise ValueError(f"it is nested deeper than {NESTING_MOST} levels")
    codec = PROTOCOLS[model.protocol]
    if protocol == model.protocol:
        body = codec.adopt(request, ask, model)
        codec.turns(body)
        return body
    foreign = sorted(set(request) - COMMON_FIELDS)
    if foreign:
        raise ValueError(
            f"it is written for {protocol} and {foreign[0]!r} has no place in {model.protocol}; "
            f"use a {protocol} model, or params of the job"
        )
    return codec.body(PROTOCOLS[protocol].turns(request), ask, model)


def _is_nested_deeper(value: Any, most: int) -> bool:
    """Whether a JSON value has more levels than `most`, found without recursion."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
