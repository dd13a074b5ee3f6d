"""Label sentences: which label a sentence states, if it states one and neither denies nor doubts it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rowmill.schemas.label import Labels
from rowmill.tasks.plan.label_text import EMPHASIS, plain_text


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that turn a sentence about a label into its opposite, a question, or a refusal.
_DOUBTS = _words(
    """no not non nor none never neither without except unlike instead rather than but although however though despite
    cannot can't cant unable unsure unclear uncertain sorry whether if unless might maybe may could either or
    rarely hardly barely nothing nobody lacks fails excluding ruled
    nicht kein keine keinen keiner nie niemals ohne weder sondern ob vielleicht oder aber statt
    pas ne jamais sans ni aucun aucune mais ou si plutôt
    ningún ninguna nunca sin pero sino tampoco né neppure mai senza ma nessun nessuna nem não sem mas geen niet nooit
    nie ani bez nebo inte ingen aldrig ikke ingen ej nu нет не ни без или"""
)
_DOUBT_PARTS = ("n't", "n’t", "?", "？", "不", "非", "没", "沒", "無", "无", "未", "否", "或",
                "ない", "ません", "なく", "ではな", "じゃな", "아니", "않", "없", "또는")  # fmt: skip
# Words that say what the text is. Without one, and without a full stop, a few words may be a longer name.
_VERBS = _words("is are was be say says choose chose select pick label labelled labeled classify classified fits "
                   "belongs ist sind est è é es на это")  # fmt: skip
_LINKING = _VERBS | _words("as about category class answer als come como")
_PLAIN_WORDS = _words("a an the all any both one two true false yes no none other others unknown us it in on at to "
                         "and or not may can will he she we i you art as is be so do go up out")  # fmt: skip
_STATING = _words("is as label category class answer be choose")
# Words that take a label back which was given before.
_RETRACTIONS = _words("wait actually correction wrong sorry instead rather")
_COPULAS = ("是", "为", "為")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_OPENERS = frozenset("\"'`*_“„‘‚«»‹「『([<（【")
_CLOSERS = frozenset("\"'`*_”“’‘»«›」』)]>）】.,;:!。，；：！、…")
_STOPS = frozenset("：:=。、，；！—–")


class Sentences:
    """Finds which labels sentences name, by whole words."""

    def __init__(self, names: Labels) -> None:
        self._patterns: Mapping[str, re.Pattern[str]] = {
            name: re.compile(re.escape(plain_text(name)), re.IGNORECASE) for name in names
        }

    def takes_back(self, text: str, name: str) -> bool:
        """Whether a text that follows a label names another one, or says that it was wrong."""
        words = {word.lower() for word in _WORD.findall(text)}
        return bool(words & _RETRACTIONS) or any(said != name for _, _, said in self._named(plain_text(text)))

    def only_label(self, text: str) -> str | None:
        """The one label that a sentence states; None where it states none, several, or denies or doubts it."""
        plain = plain_text(text)
        if "{" in plain or plain.startswith("["):
            # An answer in JSON that cannot be read is no sentence.
            return None
        named = self._named(plain)
        if len({name for _, _, name in named}) != 1:
            return None
        name, around = named[0][2], _without(plain, named)
        words = [word.lower() for word in _WORD.findall(around)]
        if any(part in around for part in _DOUBT_PARTS) or not _DOUBTS.isdisjoint(words):
            return None
        places = [(start, end) for start, end, _ in named]
        if any(_is_stressed(plain, *place) for place in places):
            return name
        # US is not us: a label in capitals is one in capitals.
        if name == name.upper() and any(plain[start:end] != plain_text(name) for start, end in places):
            return None
        if not _is_telling(name):
            return name if len(places) == 1 and _is_stated(plain, *places[0]) else None
        is_whole = _is_unspaced(name) and all(_is_unspaced(word) or word in _LINKING for word in words)
        return name if is_whole or _is_sentence(plain, words) else None

    def _named(self, plain: str) -> list[tuple[int, int, str]]:
        """Where labels stand as words. One within a longer one is not said: "very positive" does not say "positive"."""
        spans = sorted(
            (found.start(), found.end(), name)
            for name, pattern in self._patterns.items()
            for found in _each(pattern, plain)
            if _is_word(plain, found.start(), found.end())
        )
        return [one for one in spans if not any(_holds(other, one) for other in spans)]


def _is_sentence(plain: str, words: Sequence[str]) -> bool:
    """Whether these words around a label make a statement of it, and no longer name ("very positive")."""
    if len(words) >= 3 and (plain.endswith((".", "!")) or not _LINKING.isdisjoint(words)):
        return True
    return len(words) >= 2 and not _VERBS.isdisjoint(words)


def _each(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """All occurrences, those that overlap too."""
    at = 0
    while (found := pattern.search(text, at)) is not None:
        yield found
        at = found.start() + 1


def _holds(outer: tuple[int, int, str], inner: tuple[int, int, str]) -> bool:
    wider = outer[0] <= inner[0] and inner[1] <= outer[1]
    return wider and outer[1] - outer[0] > inner[1] - inner[0]


def _without(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    chars = list(text)
    for start, end, _ in spans:
        chars[start:end] = " " * (end - start)
    return "".join(chars)


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether what stands there is a word, or words, and no part of one, of a number, or of words that are joined."""
    if _is_unspaced(text[start:end]):
        before, after = text[max(0, start - 1) : start], text[end : end + 1]
        return (not _joins(before) or before in _COPULAS) and not _joins(after)
    left = start
    while left and text[left - 1] in _OPENERS:
        left -= 1
    right = end
    while right < len(text) and text[right] in _CLOSERS:
        right += 1
    free_left = left == 0 or text[left - 1].isspace() or text[left - 1] in _STOPS
    free_right = right == len(text) or text[right].isspace()
    return free_left and free_right


def _is_unspaced(text: str) -> bool:
    """Whether a text is written in a script that sets no blanks between words."""
    return any("\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff" or "\u0e00" <= char <= "\u0e7f"
               for char in text)  # fmt: skip


def _joins(char: str) -> bool:
    """Whether a character makes a longer word of a word beside it. Japanese particles do not."""
    return bool(char) and (char.isalnum() or char in "ー々-_'’") and not "\u3041" <= char <= "\u309f"


def _is_stressed(text: str, start: int, end: int) -> bool:
    """Whether a label stands in emphasis, or behind a colon at the text's end."""
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    if before and before in EMPHASIS and before == after:
        return True
    lead = text[:start].rstrip(" *_`\"'")
    return lead.endswith((":", "=")) and not text[end:].strip(" *_`\"'.!。")


def _is_stated(text: str, start: int, end: int) -> bool:
    """Whether a label that is a common word ends the text behind "is", "as" and their like."""
    lead = _WORD.findall(text[:start])
    has_lead = bool(lead) and lead[-1].lower() in _STATING and any(char.isalpha() for char in text[start:end])
    return has_lead and not text[end:].strip(" *_`\"'.!。")


def _is_telling(name: str) -> bool:
    """Whether a sentence that holds the label is likely to mean it: "a", "2" or "other" stand in any sentence."""
    letters = sum(char.isalpha() for char in name)
    is_long = letters >= (2 if name == name.upper() else 3) or _is_unspaced(name)
    return is_long and (name.lower() not in _PLAIN_WORDS or (letters > 1 and name == name.upper()))
