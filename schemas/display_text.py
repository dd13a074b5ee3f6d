"""Display text: words of any origin (an id, an error of the gateway, a file's name) → what people may be shown of them.

A control character moves a terminal's cursor, a bidi override turns a line around, a line break begins another line, a
bracket makes a link. Each sink has one function here; what it changes is shown as JSON would escape it.
"""

from __future__ import annotations

import re

# Controls (C0, DEL, C1), what changes direction or is not seen, line and paragraph separators, lone surrogates, tags.
# Joiners are left, which some scripts and emoji need, and marks of Cf that are seen, as Arabic's signs of numbers.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_IN_A_LINE = re.compile(f"[{_UNSEEN}]")
_IN_LINES = re.compile(f"(?!\n)[{_UNSEEN}]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
# A point links only after "www" and lists only after a number, a hyphen only where a line begins.
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()#+!|<>~&:@\"'=$^]|^-|(?<=www)\.|(?<=\d)\.", re.IGNORECASE)
_FENCE = re.compile("`{3,}")

# Named figures, and a table by title, head and rows: what the screen and a page tell of a run.
Pairs = list[tuple[str, str]]
Table = tuple[str, list[str], list[list[str]]]


def one_line(text: str) -> str:
    """For a terminal, a log or a name: one line, whatever the text holds."""
    return text if text.isprintable() else _IN_A_LINE.sub(_shown, text)


def several_lines(text: str) -> str:
    """For a terminal or a log, where the line breaks are our own."""
    return _IN_LINES.sub(_shown, text)


def markdown(text: str) -> str:
    """For a line of Markdown, or of HTML made from it: the text and nothing else, no link, image or heading."""
    return _MARKDOWN.sub(_as_entity, one_line(text))


def markdown_block(text: str) -> str:
    """A block of Markdown that shows lines of text as they are, whatever fence they try to close it with."""
    shown = several_lines(text)
    fence = "`" * max(3, 1 + max(map(len, _FENCE.findall(shown)), default=0))
    return f"{fence}\n{shown}\n{fence}"


def _shown(found: re.Match[str]) -> str:
    char = found[0]
    if char in _NAMED:
        return _NAMED[char]
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[at : at + 2], 'big'):04x}" for at in range(0, len(units), 2))


def _as_entity(found: re.Match[str]) -> str:
    # An entity means the character in HTML too, where a backslash would be seen.
    return f"&#{ord(found[0])};"


def counted(number: int, noun: str) -> str:
    """A number of things in words: `1 row`, `2,000 rows`. `noun` is the word for one of them."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
