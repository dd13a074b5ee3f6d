"""Pack planner: the requests of several rows → the one call that asks them all. Pure but for the tokens it draws."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rowmill.schemas.catalogue import Model
from rowmill.schemas.pack import PLACE, TOKEN_CHARS, PackText, draw_tokens, pack_schema, row_text, write_pack
from rowmill.schemas.request import Common, Request, Text, Turn
from rowmill.tasks.answers.validator import schema_text
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS

SCHEMA_NAME = "rows"
# Failures of the gateway after which a whole call is sent again; the halves of one are sent once.
PACK_RETRIES = 2
# Fields of a body beside its texts, at most.
FRAME_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class Pack:
    """One call for several rows: the token and the bytes of own text of each, in the order in which they stand."""

    body: dict[str, Any]
    tokens: Sequence[str]
    sizes: Sequence[int]


def plan_pack(requests: Sequence[Request], model: Model, rng: random.Random) -> Pack:
    """The call for rows whose requests have the same `common`."""
    common = requests[0].common
    assert common is not None
    codec = PROTOCOLS[model.protocol]
    tokens = draw_tokens(rng, len(requests), _texts(requests, common))
    schema = pack_schema(common.schema, tokens) if common.native else None
    shown = None if common.schema is None or schema is not None else schema_text(common.schema)
    rows = [(token, request.own) for token, request in zip(tokens, requests, strict=True)]
    text = write_pack(PackText(_task(common), rows, shown, common.more), has_schema=common.schema is not None)
    turns = [Turn("user", (Text(text),))]
    if common.system:
        turns.insert(0, Turn("system", (Text(common.system),)))
    body = codec.body(turns, replace(common.ask, schema=schema, schema_name=SCHEMA_NAME), model)
    limit = codec.output_limit(requests[0].body)
    if limit is not None:
        body = codec.with_output_limit(body, min(len(requests) * limit, model.max_output_tokens))
    return Pack(body, tokens, [len(row_text(token, own).encode()) for token, own in rows])


def rows_at_most(request: Request, model: Model, wanted: int) -> int:
    """How many rows like this one go into a call: as many as are wanted, and as the model's longest answer holds."""
    return rows_within(wanted, PROTOCOLS[model.protocol].output_limit(request.body), model)


def rows_within(wanted: int, output_tokens: int | None, model: Model) -> int:
    """The same by the bound of one row's answer."""
    return wanted if output_tokens is None else max(1, min(wanted, model.max_output_tokens // output_tokens))


ROW_BYTES = len(row_text("x" * TOKEN_CHARS, "").encode())


def own_bytes(request: Request) -> int:
    """What a row adds to a call, in bytes: no token is shorter than one."""
    return len(request.own.encode()) + ROW_BYTES


def common_text(common: Common) -> str:
    """All that the rows of a call share, but for the frame of a schema that travels by itself."""
    schema = None if common.schema is None else schema_text(common.schema)
    text = write_pack(PackText(_task(common), [], schema, common.more), has_schema=schema is not None)
    return f"{common.system}\n{text}" if common.system else text


def common_bytes(common: Common) -> int:
    """The same in bytes."""
    return len(common_text(common).encode())


def pack_worst_usd(request: Request, model: Model, rows_per_call: int, *, attempts: int) -> tuple[int, int]:
    """What a row's shares of the calls that it may be in with others can cost at most, in 10⁻¹² USD: of the first call,
    and of all of them, the first so many times and then its halves.
    """
    common, price = request.common, model.price
    assert common is not None
    if price is None:
        return 0, 0
    own, shared = own_bytes(request), common_bytes(common) + FRAME_BYTES
    limit = PROTOCOLS[model.protocol].output_limit(request.body)
    rows = rows_at_most(request, model, rows_per_call)
    costs: list[int] = []
    while rows > 1 or not costs:
        output = rows * limit if limit is not None else model.max_output_tokens
        costs.append(-(-price.most_usd(rows * own + shared, output) // rows))
        rows = (rows + 1) // 2 if rows > 2 else 1
    return costs[0], sum(costs) + (attempts - 1) * costs[0]


def _task(common: Common) -> str | None:
    return f"{common.before}{PLACE}{common.after}" if common.before.strip() or common.after.strip() else None


def _texts(requests: Sequence[Request], common: Common) -> list[str]:
    return [common.system or "", common.before, common.after, *(request.own for request in requests)]
