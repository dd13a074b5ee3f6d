"""Source text: where a quote stands in one text, as it is or typeset differently. Linear in the text and the quote."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile

from rowmill.schemas.evidence import Match
from rowmill.tasks.answers.json_escapes import Unescaped, is_escaped_json
from rowmill.tasks.answers.quote_form import HYPHENS, SEEN_DROPPED, is_unseen, same_passage
from rowmill.tasks.answers.skeleton import Skeleton, skeleton

# A text is read in pieces that a processor holds close: so many characters, up to one before which it can be cut, since
# nothing that stands before it becomes one with it.
BLOCK_CHARS = 16_384
_CUT = re.compile(
    "[0-9A-Za-z\u0391-\u03c9\u0410-\u044f\u05d0-\u05ea\u0621-\u064a\u0915-\u0939\u0e01-\u0e2e"
    "\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]"
)
# Places of one quote that are looked at: more tell nothing of which is meant.
PLACES_MOST = 20_000
NORMALIZED_MOST = 1_000
# Looking closer at a place, and finding another number there, costs as reading so many characters and those of both.
# When that has come to these and as many as the text has, the quote is taken not to be there.
LOOK_CHARS, LOOKED_CHARS = 1_000, 200_000
# No word or number that is looked at around a quote is longer.
WORD_MOST_CHARS = 60
_LINE_END, _ESCAPED_LINE_END = re.compile("\n"), re.compile(r"\\n")

Place = tuple[int, int]


class SourceText:
    """One text that quotes are looked up in. Its normalized form is made when a quote is not found as it is.

    What stands escaped in JSON, as line breaks do, is the same passage: in a column that is an object or a list, and in
    a text that is JSON.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._unescaped = Unescaped(text) if is_escaped_json(text) else None
        self._read = SourceText(self._unescaped.text) if self._unescaped is not None else None
        self._blocks: _Blocks | None = None
        self._line_ends: list[int] | None = None

    def line(self, at: int) -> int:
        """The line in which a code point stands, from 0."""
        if self._line_ends is None:
            breaks = _LINE_END if self._unescaped is None else _ESCAPED_LINE_END
            self._line_ends = [end.start() for end in breaks.finditer(self.text)]
        return bisect_left(self._line_ends, at)

    def places(self, quote: str) -> tuple[Match, list[Place]]:
        """How a quote stands in the text, and where: code points [start, end) in ascending order, never overlapping.

        Places that do not cut a word, a number or an accented letter are all, where there are any.
        """
        if not quote.strip():
            return Match.NONE, []
        found = list(islice(self._whole_escapes(self._exact(quote)), PLACES_MOST))
        if found:
            return Match.EXACT, self._whole_words(found)
        if self._unescaped is not None and self._read is not None:
            _, read = self._read.places(quote)
            if read:
                return Match.NORMALIZED, [(self._unescaped.raw(start), self._unescaped.raw(end)) for start, end in read]
        found = list(islice(self._whole_escapes(self._normalized(quote)), NORMALIZED_MOST))
        return (Match.NORMALIZED, self._whole_words(found)) if found else (Match.NONE, [])

    def _exact(self, quote: str) -> Iterator[Place]:
        at, size = self.text.find(quote), len(quote)
        while at >= 0:
            yield at, at + size
            at = self.text.find(quote, at + size)

    def _normalized(self, quote: str) -> Iterator[Place]:
        sought = skeleton(quote)
        if not sought:
            return
        if self._blocks is None:
            self._blocks = _Blocks(self.text)
        blocks = self._blocks
        before, after = _marks_around(quote)
        work_left = len(self.text) + LOOKED_CHARS
        at = blocks.skeleton.find(sought)
        while at >= 0 and work_left > 0:
            start, end = self._with_marks(*blocks.span(at, at + len(sought)), before=before, after=after)
            if same_passage(self.text[start:end], quote):
                yield start, end
                at = blocks.skeleton.find(sought, at + len(sought))
                continue
            work_left -= len(quote) + end - start + LOOK_CHARS
            at = blocks.skeleton.find(sought, at + 1)

    def _with_marks(self, start: int, end: int, before: str, *, after: str) -> Place:
        """A span with the quotation marks and hyphens next to it that the quote has there too."""
        more = _marks_reached((self.text[at] for at in range(start - 1, -1, -1)), before)
        return start - more, end + _marks_reached((self.text[at] for at in range(end, len(self.text))), after)

    def _whole_escapes(self, found: Iterator[Place]) -> Iterator[Place]:
        """The places that do not cut an escape: the n of a line break is no letter."""
        cuts = self._unescaped
        return (place for place in found if cuts is None or not (cuts.is_within(place[0]) or cuts.is_within(place[1])))

    def _whole_words(self, found: list[Place]) -> list[Place]:
        if len(found) == 1:
            return found
        return [place for place in found if not self.cuts_a_word(place)] or found

    def cuts_a_word(self, place: Place) -> bool:
        """Whether a place begins or ends amid a word, a number or an accented letter."""
        start, end = self._as_read(place)
        return _cuts(self._read_text, start) or _cuts(self._read_text, end)

    def passage(self, place: Place) -> str:
        """What is read at a place."""
        start, end = self._as_read(place)
        return self._read_text[start:end]

    def whole_passage(self, place: Place) -> str:
        """The same with all of the words and numbers that it begins and ends in."""
        text = self._read_text
        start, end = self._as_read(place)
        least, most = start - WORD_MOST_CHARS, end + WORD_MOST_CHARS
        while start > least and _cuts(text, start):
            start -= 1
        while end < most and _cuts(text, end):
            end += 1
        return text[start:end]

    @property
    def _read_text(self) -> str:
        return self.text if self._unescaped is None else self._unescaped.text

    def _as_read(self, place: Place) -> Place:
        read = self._unescaped
        return place if read is None else (read.read(place[0]), read.read(place[1]))


def _marks_around(quote: str) -> tuple[str, str]:
    """The marks that a quote begins and ends with, outwards: `-` for a hyphen, `"` for a quotation mark."""
    begins = takewhile(_is_mark, quote)
    ends = takewhile(_is_mark, reversed(quote))
    return _kinds(begins)[::-1], _kinds(ends)[::-1]


def _kinds(chars: Iterable[str]) -> str:
    return "".join("-" if char in HYPHENS else '"' for char in chars if char in SEEN_DROPPED)


def _is_mark(char: str) -> bool:
    return char in SEEN_DROPPED or is_unseen(char)


def _marks_reached(chars: Iterable[str], wanted: str) -> int:
    """How many characters outwards of a span belong to it, up to the last mark that is wanted.

    A quotation mark that is not there is done without, since they make no difference; a hyphen is not.
    """
    reached = 0
    if not wanted:
        return reached
    for count, char in enumerate(chars, 1):
        if not _is_mark(char):
            break
        if char in HYPHENS:
            wanted = wanted.lstrip('"')
            if not wanted:
                break
        elif char not in SEEN_DROPPED or wanted[0] == "-":
            continue
        reached, wanted = count, wanted[1:]
        if not wanted:
            break
    return reached


def _cuts(text: str, at: int) -> bool:
    """Whether a word, a number or a letter with its marks would be cut here. Scripts without spaces have no words."""
    if not 0 < at < len(text):
        return False
    left, right = text[at - 1], text[at]
    if left.isdigit():
        return right.isdigit()
    if unicodedata.combining(right):
        return True
    return left.isalpha() and right.isalpha() and left < "\u0e00" and right < "\u0e00"


class _Blocks:
    """A text's skeleton, made block by block, and the place of each of its characters in the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts: list[int] = []
        self._firsts = [0]
        # Of blocks in which places were asked for: all of them would take more room than the text.
        self._made: dict[int, Skeleton] = {}
        pieces: list[str] = []
        at = 0
        while at < len(text):
            cut = _CUT.search(text, at + BLOCK_CHARS)
            end = cut.start() if cut is not None else len(text)
            made = Skeleton.of(text[at:end])
            if not pieces:
                self._made[0] = made
            self._starts.append(at)
            pieces.append(made.text)
            self._firsts.append(self._firsts[-1] + len(made.text))
            at = end
        self.skeleton = "".join(pieces)

    def span(self, start: int, end: int) -> Place:
        """Characters [start, end) of the skeleton as code points of the text."""
        return self._place(start)[0], self._place(end - 1)[1]

    def _place(self, at: int) -> Place:
        block = bisect_right(self._firsts, at) - 1
        if block not in self._made:
            end = self._starts[block + 1] if block + 1 < len(self._starts) else len(self._text)
            self._made[block] = Skeleton.of(self._text[self._starts[block] : end])
        within = at - self._firsts[block]
        first, last = self._made[block].span(within, within + 1)
        return self._starts[block] + first, self._starts[block] + last
