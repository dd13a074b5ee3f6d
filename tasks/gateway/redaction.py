"""Redaction: the API key, should a gateway echo it, is taken out of every text that is kept or shown.

It is looked for in texts as they are kept, after pieces and parts are joined: not in the bytes of an answer, where it
may be split or escaped.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from rowmill.schemas.attempt import Failure
from rowmill.schemas.usage import Usage

MARKS = ("[key redacted]", "***", "###")
# A shorter one is no secret, and its letters stand in every other word: servers without keys are given such.
SECRET_LEAST = 4
# The escapes of a JSON text within a JSON text within a JSON text.
BACKSLASHES_MOST = 15

# What holds no text; a token count holds none either.
PLAIN = frozenset((int, float, bool, Usage))
V = TypeVar("V")


class Redactor:
    """Takes one key out of texts: as it is, or as a JSON text would escape it."""

    def __init__(self, key: str) -> None:
        self._key = key if len(key) >= SECRET_LEAST else ""
        self._mark = next((mark for mark in MARKS if self._key not in mark), "")
        self._escaped = re.compile("".join(map(_as_escaped, self._key)))
        # What an escaped key cannot be without.
        self._signs = [r"\u", *(f"\\{char}" for char in '"\\/' if char in self._key)]

    def text(self, text: str) -> str:
        """The text without the key."""
        if not self._key:
            return text
        if self._key in text:
            text = self._without(text.replace(self._key, self._mark))
        if "\\" in text and any(sign in text for sign in self._signs):
            text = self._without(self._escaped.sub(lambda _: self._mark, text))
        return text

    def _without(self, text: str) -> str:
        """What stands around a mark may make up the key once more."""
        while self._key in text:
            text = text.replace(self._key, "")
        return text

    def value(self, value: V) -> V:
        """A text, a struct, or lists and dicts of them, without the key; the same object where there is none."""
        return value if not self._key or self._is_clean(value) else self._value(value)

    def _is_clean(self, value: Any) -> bool:
        """Whether a struct holds the key nowhere, told at a glance: the usual answer has a few plain texts."""
        if not isinstance(value, msgspec.Struct):
            return False
        for one in msgspec.structs.astuple(value):
            if type(one) is str:
                if self._key in one or "\\" in one:
                    return False
            elif one and type(one) not in PLAIN:
                return False
        return True

    def failure(self, failure: Failure) -> Failure:
        """A failure without the key, also where its message was cut in the middle of it."""
        message = self.text(failure.message)
        for length in range(len(self._key) - 1, SECRET_LEAST - 1, -1):
            if message.endswith(self._key[:length]):
                message = message[:-length] + self._mark
                break
        return self.value(msgspec.structs.replace(failure, message=message))

    def _value(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return self.text(value)
        if value is None or kind in PLAIN:
            return value
        if isinstance(value, msgspec.Struct):
            changed = {}
            for name in value.__struct_fields__:
                before = getattr(value, name)
                if (after := self._value(before)) is not before:
                    changed[name] = after
            return msgspec.structs.replace(value, **changed) if changed else value
        if isinstance(value, (list, tuple)):
            made = [self._value(one) for one in value]
            return type(value)(made) if any(a is not b for a, b in zip(made, value, strict=True)) else value
        if isinstance(value, dict):
            return {self._value(name): self._value(one) for name, one in value.items()}
        return value


def _as_escaped(char: str) -> str:
    """A pattern for a character in a JSON text, itself perhaps within others: as it is, or escaped."""
    itself = re.escape(char)
    if char in '"\\/':
        itself = rf"\\{{0,{BACKSLASHES_MOST}}}{itself}"
    code = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(char):04x}")
    return rf"(?:\\{{1,{BACKSLASHES_MOST}}}u{code}|{itself})"
