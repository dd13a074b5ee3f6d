"""Request: the call planned for a row, in words that belong to no protocol, and its identity."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from rowmill.schemas.job_sections import Params, Tool
from rowmill.schemas.label import Labels
from rowmill.schemas.media_tokens import NO_TOKENS, Tokens
from rowmill.schemas.row import Row

Role = Literal["system", "user", "model", "tool"]

SCHEMA_INSTRUCTION = (
    "Answer with one JSON value that satisfies the following JSON Schema, and with nothing else: "
    "no prose, no code fence."
)

EVIDENCE_MARK = "Answer in two parts, `output` and `evidence`."
EVIDENCE_INSTRUCTION = (
    EVIDENCE_MARK + " `output` is the answer itself. `evidence` shows where it was read: one entry for {which} that is "
    "not null, where `field` is the JSON Pointer of the value in `output`, such as /lines/0/price, and `quote` is the "
    "shortest passage of the text above that says it, copied character for character: never shortened, joined, "
    "translated or corrected."
)


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """A medium by reference (`url`) or by content (`base64`), with its MIME type where it is known.

    `resolution` is what a body asks for it alone (low, medium, high, ultra_high).
    """

    mime: str | None
    url: str | None = None
    base64: str | None = None
    resolution: str | None = None


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The model's earlier call of a function; `arguments` is a JSON value."""

    name: str
    arguments: Any
    id: str | None = None


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """What a function returned; `content` is a JSON value."""

    name: str
    content: Any
    id: str | None = None


Part = Text | Media | FunctionCall | FunctionResult


@dataclass(frozen=True, slots=True)
class Turn:
    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class AskOptions:
    """What every row of a job asks beside its turns. `schema` is set only where it travels natively."""

    params: Params
    tools: tuple[Tool, ...] = ()
    schema: Any = None
    schema_name: str = "answer"


@dataclass(frozen=True, slots=True, eq=False)
class Common:
    """What rows have in common that can be asked in one call; those of one planner have the same object.

    A row's prompt is `before`, its own text, `after`; `more` is what else is said of each answer. `schema` is that of
    one answer, None for text; `native` where it travels in the protocol's own field.
    """

    ask: AskOptions
    system: str | None
    before: str
    after: str
    schema: Any
    native: bool
    more: str | None = None


class Request(msgspec.Struct, frozen=True):
    """The planned call of one row. `body` is the wire body of its protocol without the stream flag.

    `key` is blake2b-128 of all that affects the answer. `media` counts its media, `media_chars` their base64 text,
    `media_tokens` what they are expected to be billed as and `media_most` what at the most; the bytes of
    `media_unmeasured` of them do not tell how large they are. `gold` are the row's right labels, which are in no body.
    `common` is set where it may be asked together with others; `own` is then its own part of the prompt.
    """

    row: Row
    key: bytes
    body: dict[str, Any]
    media: int = 0
    media_chars: int = 0
    media_tokens: Tokens = NO_TOKENS
    media_most: int = 0
    media_unmeasured: int = 0
    gold: Labels | None = None
    common: Common | None = None
    own: str = ""


def request_key(salt: bytes, body: dict[str, Any]) -> bytes:
    """blake2b-128 over the job's salt (model, protocol, schema, sandbox or not) and the canonical body."""
    return blake2b(salt + msgspec.json.encode(body, order="sorted"), digest_size=16).digest()
