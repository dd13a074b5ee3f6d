"""JSON text → values, with one decided reading of hostile text.

msgspec reads it (exact big integers, strict UTF-8). What it refuses is read once more by the standard library only
to be lenient about lone surrogates, which become U+FFFD: no file format of ours can hold them.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec

_decode = msgspec.json.Decoder().decode
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONE = re.compile("[\ud800-\udfff]")


class JsonTextField(msgspec.Struct, frozen=True, rename={"pointer": "field"}):
    """A field of the results that is JSON text: its JSON pointer in `output` (`*` stands for each item), and why."""

    pointer: str = ""
    reason: str = ""


class JsonTextError(ValueError):
    """The text is no JSON value that could be kept; the message says why."""


def decode_json(text: str | bytes) -> Any:
    """One JSON value. Raises JsonTextError for anything else: NaN, numbers beyond a double."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        return _second_look(text, error)
    except RecursionError:
        raise JsonTextError("nested too deeply") from None


def _second_look(text: str | bytes, first: Exception) -> Any:
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else _LONE.sub("\ufffd", text)
    except UnicodeDecodeError as error:
        raise JsonTextError(f"not valid UTF-8 at byte {error.start + 1}") from None
    if _SURROGATE.search(text) is None:
        try:
            return _decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise JsonTextError(_plain(first)) from None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise JsonTextError(_plain(first)) from None
    return _without_lone(value)


def _plain(error: Exception) -> str:
    return str(error).removeprefix("JSON is malformed: ")


def _no_constant(name: str) -> None:
    raise JsonTextError(f"{name} is no JSON number")


def _without_lone(value: Any) -> Any:
    """The value with each lone surrogate replaced; json.loads has already joined the pairs."""
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_lone(part) for part in value]
    if isinstance(value, dict):
        return {_without_lone(key): _without_lone(part) for key, part in value.items()}
    return value


# Digits enough to be more than a double holds, or an exponent that may be beyond it.
_LONG_NUMBER = re.compile(r"[\d.]{16}|\d[eE]-?\d{3}")


def shortened_number(text: str) -> str | None:
    """A number with a fraction or an exponent, in a valid JSON text, of which a double makes another one; None for
    none. The shortest text of a double, and its exact value, are told as they are.
    """
    if _LONG_NUMBER.search(text) is None:
        return None
    found: list[str] = []

    def note(number: str) -> float:
        as_double, exact = float(number), Decimal(number)
        if Decimal(repr(as_double)) != exact and Decimal(as_double) != exact:
            found.append(number)
        return as_double

    with suppress(ValueError, RecursionError):
        json.loads(text, parse_float=note, strict=False)
    return found[0] if found else None


def encode_json(value: Any) -> bytes:
    """Compact JSON bytes. Integers of any size are kept; dates become ISO text, decimals strings, bytes base64."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
