"""Stream: the bytes of a streamed answer → its JSON events, no I/O. Server-sent events, or one JSON array in pieces."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rowmill.tasks.gateway.protocols.fields import Unreadable

DONE = "[DONE]"
# The last event of a stream is looked at this far back to see whether the answer is complete.
TAIL_BYTES = 4_096
_FINISH = re.compile(rb'"finish_?[rR]eason"\s*:\s*["0-9]')
_USAGE = re.compile(rb'"(?:usage|usageMetadata)"\s*:\s*\{')
# Events that some servers send to keep a connection open, and what else tells nothing.
KEEP_ALIVE = frozenset({"ping", "keepalive", "keep-alive", "keep_alive", "heartbeat"})
# In the answer's own text no line breaks stand before it: they are escaped there.
_DONE = re.compile(rb"(?:^|[\r\n])data: *\[DONE\]$")
SILENT_MOST = 64
_SILENT = re.compile(
    rb"""\s*(?:|event:\s*(?:ping|keep[-_]?alive|heartbeat)|retry:.*|id:.*|data:\s*(?:\{\s*\}|\{\s*"type"\s*:\s*"ping"\s*\})?)\s*"""
)
_BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")


class StreamCut(ValueError):
    """The stream ended before the answer was complete."""


class ErrorInAnswer(ValueError):
    """The gateway reported an error under status 200; `payload` is the error's body."""

    def __init__(self, payload: Any) -> None:
        super().__init__("an error in the answer")
        self.payload = payload


def events(received: bytes, read_json: Callable[[str | bytes], Any]) -> tuple[list[Any], bool]:
    """The JSON events of a stream, and whether it ended itself ([DONE], or the array's closing bracket).

    Follows the event-stream format: lines end in LF, CR or CRLF; a colon begins a comment; data lines of one event are
    joined; an event ends with a blank line. Raises StreamCut for an event cut short, ErrorInAnswer for an error event.
    """
    if received[:1] == b"[":
        return _array(received, read_json)
    found: list[Any] = []
    lines: list[str] = []
    name = ""
    try:
        text = received.decode("utf-8")
    except UnicodeDecodeError:
        raise StreamCut("the stream ended inside a character") from None
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif line.startswith("event:"):
            name = line[6:].strip()
        elif not line:
            if lines:
                data = "\n".join(lines)
                if data.strip() == DONE:
                    return found, True
                # Without data there is no event.
                if data.strip() and name.lower() not in KEEP_ALIVE:
                    found.append(_event(data, name, read_json))
            lines, name = [], ""
    if lines and "\n".join(lines).strip() == DONE:
        return found, True
    if lines:
        raise StreamCut("the stream ended inside an event")
    return found, False


def _event(data: str, name: str, read_json: Callable[[str | bytes], Any]) -> Any:
    try:
        value = read_json(data)
    except Unreadable:
        if name == "error":
            raise ErrorInAnswer({"error": {"message": data}}) from None
        raise StreamCut("an event of the stream is no JSON") from None
    if name == "error":
        raise ErrorInAnswer(value)
    return checked(value)


def checked(value: Any) -> Any:
    """The value, unless it is an error in place of an answer: then raises ErrorInAnswer."""
    if type(value) is dict and (value.get("error") or value.get("type") == "error" or value.get("object") == "error"):
        raise ErrorInAnswer(value)
    return value


SAYS_WHY = ("message", "detail", "errors", "code", "msg", "error_code", "error_msg")


def no_answer(payload: Any, wanted: str) -> Exception:
    """What to raise for a body without an answer: one that says why is an error, in whatever form."""
    if isinstance(payload, dict) and any(payload.get(key) for key in SAYS_WHY):
        return ErrorInAnswer(payload)
    return Unreadable(f"no {wanted} in the answer")


def _array(received: bytes, read_json: Callable[[str | bytes], Any]) -> tuple[list[Any], bool]:
    """The form in which Google streams without `alt=sse`."""
    try:
        values = read_json(received)
    except Unreadable:
        raise StreamCut("the stream ended inside its array") from None
    return [checked(value) for value in values], True


def is_complete(received: bytes) -> bool:
    """Whether a stream has brought all of its answer, so that nothing after it need be waited for.

    It has with [DONE], and with a last event that has the usage where a finish reason came with it or before. Cheap
    enough for each piece that arrives: only a stream that ends in a blank line is looked into.
    """
    tail = received[-TAIL_BYTES:]
    bare = tail.rstrip()
    if bare.endswith(b"[DONE]"):
        return _DONE.search(bare) is not None
    if not tail.endswith(_BLANK_LINES):
        return False
    start = max(bare.rfind(b"\ndata:"), bare.rfind(b"\rdata:"), -1)
    if start < 0 and not bare.startswith(b"data:"):
        # A whole answer may have blank lines in it.
        return False
    start = max(start, 0)
    return _USAGE.search(bare, start) is not None and _FINISH.search(received) is not None


def is_silence(piece: bytes) -> bool:
    """Whether a piece of a stream brings nothing: comments and pings, which some gateways send to keep it open."""
    if piece[:1] == b"{":
        return False
    return all(line[:1] == b":" or (len(line) < SILENT_MOST and _SILENT.fullmatch(line)) for line in piece.splitlines())
