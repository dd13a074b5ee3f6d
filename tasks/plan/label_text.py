"""Label text: the forms in which one label may be written, and what they have in common."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from rowmill.tasks.answers.normal_form import normalized

TRAILING = ".,;:!。，；：！、"
PAIRS = {
    '"': '"', "'": "'", "`": "`", "*": "*", "_": "_", "“": "”", "„": "“", "‘": "’", "‚": "‘", "«": "»", "»": "«",
    "‹": "›", "「": "」", "『": "』", "(": ")", "[": "]", "<": ">", "（": "）", "【": "】",
}  # fmt: skip
EMPHASIS = frozenset("*_`")
_QUOTES = str.maketrans(dict.fromkeys("‘’‚‛ʼ′`´", "'") | dict.fromkeys("“”„‟″«»", '"'))
_HYPHENS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2212\ufe63\uff0d", "-"))
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Form:
    """What is left of a text, and what was taken away."""

    text: str
    differs: tuple[str, ...]


def forms_of(text: str) -> Iterator[Form]:
    """A text, and what is left of it without blanks, quotes, emphasis and one trailing sign around."""
    seen: set[tuple[str, bool]] = set()
    waiting = [Form(text, ())]
    while waiting:
        form = waiting.pop()
        key = (form.text, "trailing sign" in form.differs)
        if not form.text or key in seen:
            continue
        seen.add(key)
        yield form
        if (bare := form.text.strip()) != form.text:
            waiting.append(Form(bare, _with(form.differs, "blanks")))
        elif PAIRS.get(bare[0]) == bare[-1] and len(bare) > 2:
            kind = "emphasis" if bare[0] in EMPHASIS else "quotes"
            waiting.append(Form(bare[1:-1], _with(form.differs, kind)))
        if bare and bare[-1] in TRAILING and not key[1]:
            waiting.append(Form(bare[:-1], _with(form.differs, "trailing sign")))


def _with(differs: tuple[str, ...], one: str) -> tuple[str, ...]:
    return differs if one in differs else (*differs, one)


def folds_of(text: str) -> set[str]:
    """How a label may be written in other case."""
    plain = plain_text(text)
    return {plain.lower(), plain.upper()}


def cases_of(text: str) -> set[str]:
    """The folds of a label that a text stands for. ß has no capital of its own: MASSE may be Maße, masse may not."""
    plain = plain_text(text)
    return {plain.lower(), plain} if plain == plain.upper() else {plain.lower()}


def plain_text(text: str) -> str:
    """A text with one form for what looks alike: composed, blanks as one space, straight quotes, no wide letters.

    Not NFKC: that turns ² into 2.
    """
    text = "".join(_narrow(char) for char in text) if any(char > "\u2fff" for char in text) else text
    text = normalized("NFC", text).translate(_QUOTES).translate(_HYPHENS)
    return _BLANKS.sub(" ", text).strip()


def _narrow(char: str) -> str:
    wide = unicodedata.decomposition(char).startswith(("<wide>", "<narrow>"))
    return unicodedata.normalize("NFKC", char) if wide else char
