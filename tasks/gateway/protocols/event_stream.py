"""Stream: the bytes of a streamed answer → its JSON events, no I/O. Server-sent events, or one JSON array in pieces."""

from __future__ import annotations

from typing import Any

from rowmill.schemas.json_text import JsonTextError, decode_json

DONE = "[DONE]"


class StreamCut(ValueError):
    """The stream ended before the answer was complete."""


class StreamError(ValueError):
    """The gateway told an error in the middle of a stream; `payload` is its error body."""

    def __init__(self, payload: bytes) -> None:
        super().__init__("an error in the stream")
        self.payload = payload


def events(received: bytes) -> tuple[list[Any], bool]:
    """The JSON events of a stream, and whether it told its own end ([DONE], or the array's closing bracket).

    Follows the event-stream format: lines end in LF, CR or CRLF; a colon begins a comment; data lines of one event are
    joined; an event ends with a blank line. Raises StreamCut for an event cut short, StreamError for an error event.
    """
    if received.lstrip()[:1] == b"[":
        return _array(received)
    found: list[Any] = []
    lines: list[str] = []
    try:
        text = received.decode("utf-8")
    except UnicodeDecodeError:
        raise StreamCut("the stream ended inside a character") from None
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            told, lines = "\n".join(lines), []
            if told.strip() == DONE:
                return found, True
            found.append(_event(told))
    if lines and "\n".join(lines).strip() == DONE:
        return found, True
    if lines:
        raise StreamCut("the stream ended inside an event")
    return found, False


def _event(told: str) -> Any:
    try:
        value = decode_json(told)
    except JsonTextError:
        raise StreamCut("an event of the stream is no JSON") from None
    return _not_an_error(value, told.encode())


def _not_an_error(value: Any, raw: bytes) -> Any:
    if isinstance(value, dict) and value.get("error"):
        raise StreamError(raw)
    return value


def _array(received: bytes) -> tuple[list[Any], bool]:
    """Gemini's form without `alt=sse`."""
    try:
        values = decode_json(received)
    except JsonTextError:
        raise StreamCut("the stream ended inside its array") from None
    return [_not_an_error(value, received) for value in values], True
