"""Fields: what a provider's field becomes when its type is not the documented one, no I/O. The one table of it.

| field | documented | null or absent | another type |
| --- | --- | --- | --- |
| id, model, finish reason | text | none | a number is kept as text, anything else is none |
| text of the answer | text, or a list of parts | nothing | `Broken`: half an answer is no answer |
| part of unknown kind | none | nothing | `Broken` where it has a text; thoughts, refusals and media are no text |
| thoughts | text, or a list of parts | none | ignored: they are no part of the answer |
| token count | whole number | none of that sort | text and floats of whole numbers count; else the bill is unknown |
| arguments of a tool call | JSON text, or a value | `{}` | text that is no JSON is `Broken`, a value becomes text |
| flag | true or false | false | as JSON writes it, text too |
"""

from __future__ import annotations

import re
from typing import Any

from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json

TEXT_PARTS = frozenset({None, "text", "output_text"})
# Parts beside the answer's text, by how the names of their kinds begin.
ASIDE = (
    "think", "reason", "redacted", "summary", "refusal", "image", "audio", "video", "file", "document", "tool",
    "function", "server_tool", "web_search", "search", "citation", "annotation", "source", "code",
)  # fmt: skip
# No model has a context window of this many tokens, and a column of int64 could hold their sum over any input.
COUNT_MOST = 10**12
NUMBER_MOST = 2**63
_WHOLE = re.compile(r"[0-9]{1,18}(?:\.0{1,18})?", re.ASCII)


class Unreadable(ValueError):
    """The body holds neither an answer nor a bill; the message says what is missing."""


class Broken(ValueError):
    """A field of the answer has a type that no answer has; the message names it."""


class NoCount(ValueError):
    """What stands where a number of tokens is due is none."""


def word(value: Any) -> str | None:
    """An identifier: an id, a model's name, a finish reason."""
    if type(value) is str:
        return value or None
    if type(value) is float or (type(value) is int and abs(value) <= NUMBER_MOST):
        return encode_json(value).decode()
    return None


def is_first(index: Any) -> bool:
    """Whether this is the index of the first choice, which is the answer; one that cannot be read is no other."""
    return not index or word(index) in (None, "0", "0.0")


def first_of(answers: Any) -> dict[str, Any] | None:
    """The first choice or candidate of a whole answer, by its index where they have one; None where there is none."""
    if not isinstance(answers, list) or not answers:
        return None
    if len(answers) > 1:
        answers = [one for one in answers if isinstance(one, dict) and is_first(one.get("index"))] or answers
    return answers[0] if isinstance(answers[0], dict) else None


def flag(value: Any) -> bool:
    return value.strip().lower() not in ("", "0", "false") if isinstance(value, str) else bool(value)


def answer_text(value: Any, where: str) -> str:
    """The answer's text. Raises Broken for what is neither text nor parts of text."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return "".join([_part_text(part, where) for part in value])
    if isinstance(value, dict) and "text" in value:
        return _part_text(value, where)
    raise Broken(f"`{where}` is neither text nor a list of parts")


def _part_text(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if part is None:
        return ""
    if not isinstance(part, dict):
        raise Broken(f"a part of `{where}` is no object")
    kind, text = part.get("type"), part.get("text")
    if isinstance(kind, str) and kind not in TEXT_PARTS and (not text or kind.lower().startswith(ASIDE)):
        return ""
    if kind is not None and (not isinstance(kind, str) or kind not in TEXT_PARTS):
        raise Broken(f"a part of `{where}` has a text and is of an unknown kind")
    if text is None or isinstance(text, str):
        return text or ""
    raise Broken(f"the text of a part of `{where}` is none")


def refused_part(content: Any) -> str | None:
    """The words of a refusal that stands among the parts of an answer's text."""
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") == "refusal":
            return thoughts(part.get("refusal")) or thoughts(part.get("text")) or "refusal"
    return None


def thoughts(value: Any) -> str:
    """The text of thoughts; nothing where there is none to be read."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        value = value.get("text")
        return value if isinstance(value, str) else ""
    if isinstance(value, list):
        return "".join([thoughts(part) for part in value if not isinstance(part, list)])
    return ""


def arguments(value: Any) -> str:
    """The arguments of a tool call as JSON text. Raises Broken for text that is no JSON."""
    if value is None:
        return "{}"
    if not isinstance(value, str):
        return json_text(value)
    if not value.strip():
        return "{}"
    try:
        decode_json(value)
    except JsonTextError:
        raise Broken("the arguments of a tool call are not JSON") from None
    return value


def json_text(value: Any) -> str:
    """A value of the provider's as JSON text. Raises Broken where it is nested beyond what can be written."""
    try:
        return encode_json(value).decode()
    except (RecursionError, ValueError):
        raise Broken("a field is nested too deeply") from None


def side_text(value: Any) -> str | None:
    """What came beside the answer as JSON text, none where there is nothing."""
    try:
        return json_text(value) if value else None
    except Broken:
        return None


def count(value: Any) -> int:
    """A number of tokens. Raises NoCount for what cannot be one."""
    if type(value) is int and 0 <= value <= COUNT_MOST:
        return value
    if value is None:
        return 0
    if type(value) is float and value.is_integer() and 0 <= value <= COUNT_MOST:
        return int(value)
    if type(value) is str and _WHOLE.fullmatch(value.strip()):
        found = int(value.strip().partition(".")[0])
        if found <= COUNT_MOST:
            return found
    raise NoCount("no number of tokens")
