"""Quote form: when two texts are the same passage though they were typeset differently.

They are where only white space, the Unicode form (NFKC), quotation marks, hyphens or invisible characters differ. Three
things are kept, because they change what a text says: white space between digits (12 34 is not 1234), hyphens anywhere
but between letters (-5 is not 5, 5-10 is not 510), and powers and fractions behind a digit (10² is not 102).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby

# Quotation marks, primes and apostrophes; their fullwidth forms too, which NFKC would turn into them.
QUOTES = "'\"`´‘’‚‛“”„‟‹›«»′″‴‵‶‷〝〞〟＂＇｀｢｣「」『』﹁﹂﹃﹄ʹʺʼˈˊˋ׳״"
HYPHENS = "-‐‑‒–—―⁃−﹘﹣－"
# Soft hyphens, joiners, direction marks, byte order marks: nothing of them is seen.
UNSEEN = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
SEEN_DROPPED = frozenset(QUOTES + HYPHENS)

_DROPPED = re.compile(f"[{re.escape(QUOTES + HYPHENS)}{UNSEEN}]+")
_INVISIBLE = re.compile(f"[{re.escape(QUOTES)}{UNSEEN}]+")
_HYPHEN = re.compile(f"[{re.escape(HYPHENS)}]")
_ASCII_DROPPED = str.maketrans("", "", "'\"`-\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f ")
_ASCII_QUOTES = str.maketrans("", "", "'\"`")
# Powers and fractions behind a digit, which NFKC would make one number with it.
_BEHIND_DIGIT = re.compile("(?<=[0-9０-９])[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2089\u2150-\u215f]")
_BETWEEN_LETTERS = re.compile(r"-(?<=[^\W\d_]-)(?=[^\W\d_])")
_BETWEEN_DIGITS = re.compile(r" (?<=\d )(?=\d)")
# Where NFKC changes characters: the rest of the planes is letters that it leaves alone.
_CHANGED_PLANES = (range(0xA0, 0x3400), range(0xA000, 0xAC00), range(0xD7B0, 0xD800), range(0xF900, 0x12000),
                   range(0x16000, 0x17000), range(0x1B000, 0x1FC00), range(0x2F800, 0x2FA20))  # fmt: skip
_BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")
# Vowels and finals of Hangul, of which some are written as letters of their own; halfwidth voicing marks.
_JOINING_LETTERS = "\u1160-\u11ff\u3131-\u318e\ud7b0-\ud7fb\uffa0-\uffdc\uff9e\uff9f"


def skeleton(text: str) -> str:
    """What is left of a text without white space, quotation marks, hyphens and invisible characters, in NFKC.

    Equal passages have equal skeletons; the converse is for `same_passage` to decide. Linear in the text.
    """
    if text.isascii():
        return text.translate(_ASCII_DROPPED)
    return _normalized(_DROPPED.sub("", "".join(text.split())))


def skeleton_places(text: str) -> list[tuple[int, int]]:
    """Code points [start, end) of the text that each character of its skeleton was made of."""
    kept: list[int] = []
    at = 0
    for run in _DROPPED.finditer(text):
        kept.extend(range(at, run.start()))
        at = run.end()
    kept.extend(range(at, len(text)))
    kept = [at for at in kept if not text[at].isspace()]
    bare = "".join([text[at] for at in kept])
    if unicodedata.is_normalized("NFKC", bare):
        return [(at, at + 1) for at in kept]
    forms = _forms_for(bare)
    found: list[tuple[int, int]] = []
    at = 0
    for run in forms.clusters.finditer(bare):
        found += [(place, place + 1) for place in kept[at : run.start()]]
        at = run.start()
        while at < run.end():
            end = at + 1
            while end < run.end() and forms.joining.match(bare, end):
                end += 1
            place = kept[at], kept[end - 1] + 1
            found += [place] * len(_run(bare[at:end]))
            at = end
    found += [(place, place + 1) for place in kept[at:]]
    return found


def same_passage(one: str, other: str) -> bool:
    """Whether two texts differ in nothing but how they are typeset."""
    return strict_form(one) == strict_form(other)


def strict_form(text: str) -> str:
    """The form that is equal for equal passages."""
    if text.isascii():
        plain = text.translate(_ASCII_QUOTES)
    else:
        apart = _BEHIND_DIGIT.sub("\x01\\g<0>", _HYPHEN.sub("-", _INVISIBLE.sub("", text)))
        plain = unicodedata.normalize("NFKC", apart)
    spaced = " ".join(plain.split())
    # A mark that stays, so that white space which goes does not bring digits together.
    kept = _BETWEEN_DIGITS.sub("\x00", spaced).replace(" ", "").replace("\x00", " ")
    return _BETWEEN_LETTERS.sub("", kept)


def is_unseen(char: str) -> bool:
    """Whether a character is white space or invisible."""
    return char.isspace() or (char not in SEEN_DROPPED and _DROPPED.fullmatch(char) is not None)


def _normalized(bare: str) -> str:
    """NFKC of a text without white space, and without the white space that NFKC makes of accents that stand alone."""
    # In scripts that write vowels as marks most letters have one, and mostly all are in this form already.
    if unicodedata.is_normalized("NFKC", bare):
        return bare
    forms = _forms_for(bare)
    runs = forms.changed if forms.joining.search(bare) is None else forms.clusters
    return runs.sub(_run_in, bare)


def _run_in(found: re.Match[str]) -> str:
    return _run(found[0])


@lru_cache(20_000)
def _run(run: str) -> str:
    return "".join(unicodedata.normalize("NFKC", run).split())


@dataclass(frozen=True, slots=True)
class _Forms:
    """Runs of characters that NFKC changes; characters that may become one with what stands before them; runs of the
    first kind, with the character before one of the second.
    """

    changed: re.Pattern[str]
    joining: re.Pattern[str]
    clusters: re.Pattern[str]


def _forms_for(text: str) -> _Forms:
    return _forms(_BEYOND_BMP.search(text) is not None)


@lru_cache(2)
def _forms(beyond_bmp: bool) -> _Forms:
    """Worked out once (0.03 s), when a text that is not ASCII is first normalized: it is Python's own Unicode.

    A class of characters is looked up in one step only where none of them lies beyond the basic plane.
    """
    marks = []
    changed = []
    for point in chain.from_iterable(_CHANGED_PLANES):
        char = chr(point)
        if char > "\uffff" and not beyond_bmp:
            break
        if unicodedata.category(char)[0] == "M":
            marks.append(point)
        elif not unicodedata.is_normalized("NFKC", char):
            changed.append(point)
    joining = _ranges(marks) + _JOINING_LETTERS + ("\U000e0100-\U000e01ef" if beyond_bmp else "")
    every = f"{_ranges(changed)}{joining}"
    return _Forms(
        re.compile(f"[{every}]+"),
        re.compile(f"[{joining}]"),
        re.compile(f"(?:[{every}]|.(?=[{joining}]))[{every}]*", re.DOTALL),
    )


def _ranges(points: list[int]) -> str:
    """Ascending code points as the inside of a character class."""
    made = []
    for _, run in groupby(enumerate(points), key=lambda one: one[1] - one[0]):
        some = [point for _, point in run]
        made.append(f"{re.escape(chr(some[0]))}-{re.escape(chr(some[-1]))}")
    return "".join(made)
