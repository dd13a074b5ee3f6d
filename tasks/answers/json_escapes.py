"""JSON escapes: a JSON text as a person reads it, and where each of its characters stands in the text as it is."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right

from rowmill.schemas.json_text import JsonTextError, decode_json

# Two that are one character stay together.
_ESCAPE = re.compile(r'\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|["\\/bfnrt])')


def is_escaped_json(text: str) -> bool:
    """Whether a text is an object or a list as JSON, with escapes in it. Linear in the text."""
    if "\\" not in text or text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        decode_json(text)
    except JsonTextError:
        return False
    return True


class Unescaped:
    """A JSON text whose escapes are read: `text`. Linear in the text, whatever stands in it."""

    def __init__(self, raw: str) -> None:
        # Where escapes begin and end, and where they are read; how much longer the raw text is by then.
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._places: list[int] = []
        self._longer = [0]
        pieces, at = [], 0
        for escape in _ESCAPE.finditer(raw):
            pieces += [raw[at : escape.start()], json.loads(f'"{escape[0]}"')]
            at = escape.end()
            self._starts.append(escape.start())
            self._ends.append(at)
            self._places.append(escape.start() - self._longer[-1])
            self._longer.append(self._longer[-1] + len(escape[0]) - 1)
        self.text = "".join([*pieces, raw[at:]])

    def raw(self, at: int) -> int:
        """Where in the raw text the character `at` begins, or the one before it ends."""
        return at + self._longer[bisect_left(self._places, at)]

    def read(self, at: int) -> int:
        """Where a place of the raw text that is not amid an escape is read."""
        return at - self._longer[bisect_right(self._ends, at)]

    def is_within(self, at: int) -> bool:
        """Whether a place of the raw text is amid an escape."""
        before = bisect_left(self._starts, at) - 1
        return before >= 0 and at < self._ends[before]
