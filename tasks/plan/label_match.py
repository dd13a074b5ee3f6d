"""Label match: text in which a model names a label → that label, or none. Only what can mean one label alone.

A label that differs from the text in case, in blanks, quotes, emphasis or one trailing sign, or in its Unicode form is
meant by it where no other label of the job could be. Nothing is guessed: no slip of a letter, no beginning of a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rowmill.schemas.label import Label, Labels
from rowmill.tasks.plan.label_sentence import Sentences
from rowmill.tasks.plan.label_text import Form, cases_of, folds_of, forms_of, plain_text

# A text longer than this is no label and no sentence about one.
TEXT_MOST = 4_000
# `Label: X`, as models write it where no JSON is asked, with or without emphasis.
_KEY = re.compile(
    r"[\s>#*_`-]*(?:the\s+|final\s+)?(?:labels?|answer|category|class|classification|prediction)"
    r"(?:\s+is)?[\s*_`]*[:=：][\s*_`]*(?P<said>\S.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Match:
    """A label that a text means, and in what the text differs from it; nothing where it is the label itself."""

    name: str
    differs: tuple[str, ...] = ()


# Emphasis that was begun before the key may end behind the label.
_AROUND = " *_`\"'.!,"
# Where the reason for a label begins behind it.
_REASON = re.compile(r"\s+(?=\()|\s+[-–—]\s+|,?\s+(?=(?:because|since)\s)", re.IGNORECASE)


class LabelMatcher:
    """Finds the labels of one job in texts."""

    def __init__(self, label: Label) -> None:
        """Only of a job whose labels are known."""
        self._names: Labels = label.names
        self._exact = frozenset(self._names)
        self._by_fold: dict[str, set[str]] = {}
        for choice in label.labels or ():
            # The line of the prompt that names a label is that label too.
            shown = [choice.name, *([f"{choice.name}: {choice.description}"] if choice.description else [])]
            for form in (form for text in shown for form in forms_of(text)):
                for folded in folds_of(form.text):
                    self._by_fold.setdefault(folded, set()).add(choice.name)
        self._sentences = Sentences(self._names)

    def whole(self, text: str) -> Match | None:
        """The label that a text is, from end to end. None where it is none, or could be two."""
        if text in self._exact:
            return Match(text)
        if len(text) > TEXT_MOST:
            return None
        forms = list(forms_of(text))
        meant = {name for form in forms for folded in cases_of(form.text) for name in self._by_fold.get(folded, ())}
        if len(meant) > 1:
            # Labels that differ in case, or by a sign: one of them is meant if it stands there letter by letter.
            meant = {form.text for form in forms if "trailing sign" not in form.differs} & self._exact
        if len(meant) != 1:
            return None
        name = meant.pop()
        return Match(name, _differences(forms, name))

    def said(self, text: str) -> Match | None:
        """The label that plain text names: alone, as `Label: X`, or in a sentence that names no other.

        None where it names none, several, or only to deny or doubt it.
        """
        found = self.whole(text)
        if found is not None or len(text) > TEXT_MOST:
            return found
        if (keyed := self._keyed(text)) is not None:
            return keyed
        name = self._sentences.only_label(self._statement(text))
        return None if name is None else Match(name, ("prose around the label",))

    def _statement(self, text: str) -> str:
        """What must state the label: the text, without its key where no label stands right behind it. `Label: very
        positive` names a label that is not among those of the job, and not "positive".
        """
        keyed = keyed_text(text)
        if keyed is None or self.whole(_REASON.split(keyed[0], maxsplit=1)[0].strip(_AROUND)) is not None:
            return text
        return "\n".join(keyed)

    def _keyed(self, text: str) -> Match | None:
        keyed = keyed_text(text)
        found = None if keyed is None else self.whole(keyed[0])
        if found is None or keyed is None or self._sentences.takes_back(keyed[1], found.name):
            return None
        return Match(found.name, ("key and label in words", *found.differs))


def keyed_text(text: str) -> tuple[str, str] | None:
    """What stands behind the one `Label:` of a text, and what follows that line. None unless there is one."""
    lines = text.splitlines()
    found = [(at, keyed["said"]) for at, line in enumerate(lines) if (keyed := _KEY.fullmatch(line)) is not None]
    return (found[0][1], "\n".join(lines[found[0][0] + 1 :])) if len(found) == 1 else None


def _differences(forms: Iterable[Form], name: str) -> tuple[str, ...]:
    """The fewest differences between a text and the label it means."""
    found: list[tuple[str, ...]] = []
    for form in (form for form in forms if form.text == form.text.strip()):
        if form.text == name:
            found.append(form.differs)
        elif plain_text(form.text) == plain_text(name):
            found.append((*form.differs, "Unicode form"))
        elif cases_of(form.text) & folds_of(name):
            found.append((*form.differs, "case"))
    return min(found, key=len, default=("signs",))
