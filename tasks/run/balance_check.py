"""Preflight: the key's balance, where the gateway tells it, against what the run is about to ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rowmill.schemas.catalogue import Model
from rowmill.schemas.display_text import counted
from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.schemas.price import PICO, parse_amount
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.schemas.usage import Usage
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN
from rowmill.tasks.gateway.client import Client
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.plan.pack_planner import common_bytes, own_bytes
from rowmill.tasks.plan.planner import Planner

PATH = "/v1/credits"
# The pages name the address and not the form of its answer; these are the names such answers bear.
NAMES = ("credits", "balance", "credit_balance", "remaining_credits", "remaining", "available")
OUTPUT_GUESS = 300
# Enough for a rough forecast; more would read more media than a start should.
SAMPLE_ROWS = 8
BYTES_A_TOKEN = 4


async def preflight(
    client: Client, model: Model, planner: Planner, *, sample: Sequence[Row], calls: int, rows_per_call: int = 1
) -> Termination | str | None:
    """A stop, a warning or nothing, by the balance that the gateway tells. `calls` are the fewest still to be made."""
    left = await balance(client)
    planned = [planner.plan(row) for row in sample[:SAMPLE_ROWS]]
    requests = [one for one in planned if isinstance(one, Request)]
    return None if left is None else judge_balance(left, model, requests, rows=calls, rows_per_call=rows_per_call)


async def balance(client: Client) -> int | None:
    """The balance in 10⁻¹² credits, None where the gateway does not tell it in a form we know."""
    content = await client.get(PATH)
    if content is None:
        return None
    try:
        return _amount(decode_json(content))
    except (JsonTextError, ValueError):
        return None


def _amount(told: Any) -> int | None:
    if isinstance(told, dict):
        for name in NAMES:
            if isinstance(told.get(name), (int, float, str)) and not isinstance(told[name], bool):
                return parse_amount(str(told[name]))
        return _amount(told.get("data"))
    return None


def judge_balance(
    left: int, model: Model, requests: Sequence[Request], *, rows: int, rows_per_call: int = 1
) -> Termination | str | None:
    """A stop where the first call's worst case is not covered, a warning where a rough forecast is not.

    `left` is in 10⁻¹² credits, `requests` a sample from the input's beginning, `rows` those still to be asked.
    """
    if model.price is None or not requests:
        return None
    protocol = PROTOCOLS[model.protocol]
    sizes = [len(protocol.wire(request.body, stream=False)) - request.media_chars for request in requests]
    bound = protocol.output_limit(requests[0].body) or model.max_output_tokens
    worst = model.price.of(Usage(min(sizes[0], model.context_window), bound)).credits
    if left < worst:
        return Termination(
            TerminationKind.INSUFFICIENT_CREDITS,
            "preflight",
            f"the balance is {left / PICO:.4f} credits, and the first call could cost {worst / PICO:.4f}",
            f"Top up the balance, or lower params.max_output_tokens. {RUN_AGAIN}",
        )
    if (common := requests[0].common) is not None:
        sizes = [own_bytes(request) + common_bytes(common) // rows_per_call for request in requests]
    mean = sum(sizes) // len(sizes) // BYTES_A_TOKEN
    forecast = rows * model.price.of(Usage(mean, min(bound, OUTPUT_GUESS))).credits
    if left < forecast:
        return (
            f"the balance is {left / PICO:.2f} credits; {counted(rows, 'row')} may cost about {forecast / PICO:.2f} "
            "(a rough guess): the run will stop when it is used up, and can be resumed"
        )
    return None
