"""Body: the bytes of an answer → its JSON, whole or put together from a stream, no I/O.

Whether a body is a stream is seen in it: there are servers that know no streams, and others that know nothing else.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Protocol

from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.tasks.gateway.protocols.event_stream import checked, events
from rowmill.tasks.gateway.protocols.fields import Unreadable

BOM = b"\xef\xbb\xbf"
SHOWN_BYTES = 200
DIGITS_MOST = 300
_STREAM = (b"data:", b":", b"event:", b"id:", b"retry:", b"[")
_LONE = re.compile("[\ud800-\udfff]")


class WebPage(Unreadable):
    """The body is a page for people: a portal, a firewall or a proxy answered in the gateway's place."""


class Assembler(Protocol):
    def __call__(self, events: list[Any], *, ended: bool) -> Any: ...


def read(received: bytes, assemble: Assembler) -> Any:
    """The JSON of a 200's body. Raises Unreadable, StreamCut, ErrorInAnswer."""
    if received[:1] == b"{":
        return checked(read_json(received))
    bare = received.removeprefix(BOM).lstrip()
    if bare.startswith(_STREAM):
        found, ended = events(bare, read_json)
        return assemble(found, ended=ended)
    return checked(read_json(bare))


def read_json(text: str | bytes) -> Any:
    """One JSON value as servers write it. Raises Unreadable.

    What JSON or a column cannot hold (NaN, an infinity, a number of hundreds of digits) becomes an empty object: that
    is neither a count nor a text, wherever it stands.
    """
    try:
        return decode_json(text)
    except JsonTextError as error:
        first = error
    raw = text.encode() if isinstance(text, str) else text
    if is_page(raw):
        raise WebPage(f"a web page came in place of an answer: {first_line(raw)}") from None
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=lambda _: {}, parse_int=_integer)
    except (ValueError, RecursionError):
        raise Unreadable(f"the body is no JSON ({first}): {first_line(raw)}") from None
    return _storable(value)


def _integer(digits: str) -> Any:
    return int(digits) if len(digits) <= DIGITS_MOST else {}


def _storable(value: Any) -> Any:
    """The value without lone surrogates and infinities, which no file of ours can hold."""
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else {}
    if isinstance(value, list):
        return [_storable(part) for part in value]
    if isinstance(value, dict):
        return {_LONE.sub("\ufffd", key): _storable(part) for key, part in value.items()}
    return value


def is_page(content: bytes) -> bool:
    head = content[:512].removeprefix(BOM).lstrip().lower()
    return head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or (
        head.startswith((b"<!--", b"<?xml")) and b"<html" in head
    )


def first_line(content: bytes) -> str:
    """The first line that says something, for a message; of a page, its title or first words."""
    text = content[: 64 * 1024].decode("utf-8", "replace")
    if is_page(content):
        title = re.search(r"<title[^>]*>(.{0,300}?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title[1] if title else re.sub(r"<[^>]{0,300}>", " ", text)
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:SHOWN_BYTES]
