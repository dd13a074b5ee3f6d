"""Label answer: what a model said → the labels of its vote. Answers that can mean one thing alone are repaired."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rowmill.schemas.job import Job
from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json
from rowmill.schemas.label import Label, Labels
from rowmill.tasks.answers.parser import parse_answer
from rowmill.tasks.answers.validator import Accepted, Rejected, Validator
from rowmill.tasks.plan.evidence_plan import evidence_validator
from rowmill.tasks.plan.label_match import LabelMatcher, Match, keyed_text

KEYS = ("label", "labels")
# How the examples of a prompt show that no label applies.
NONE_APPLY = "(none)"
PARTED_BY = ("\n", "|", ";", ",", "；", "，", "、")
PROSE = "prose around the value"
_BEFORE_ANSWER = re.compile(r"\A\ufeff?\s*(?:<(think|thinking)>.*?</\1>)?", re.DOTALL)
_BULLET = re.compile(r"\A\s*[-*•]\s+")
_FENCE = re.compile(r"\A\s*```[A-Za-z0-9_-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*\Z", re.DOTALL)


def validator_of(asked: Job) -> Validator:
    """What judges the answers of a job as it is asked (see label_prompt.as_asked)."""
    if asked.evidence:
        return evidence_validator(asked)
    if asked.label is None:
        return Validator(asked.output_schema, asked.validator)
    return LabelValidator(asked.label, asked.output_schema, asked.validator)


@dataclass(frozen=True, slots=True)
class _Read:
    """The labels that a value names, and what had to be overlooked to see them."""

    labels: Labels
    repairs: tuple[str, ...] = ()


class LabelValidator(Validator):
    """Judges the answers of a labelling job: by its schema, and where they break it by what label they can mean."""

    def __init__(self, label: Label, schema: Any, model: str | None = None) -> None:
        super().__init__(schema, model)
        self._label, self._matcher = label, LabelMatcher(label)

    def judge(self, text: str) -> Accepted | Rejected:
        """Accepted as it stands, accepted with `repair` saying how it was read, or rejected: to be asked again."""
        verdict = super().judge(text)
        if isinstance(verdict, Accepted) or not text.strip():
            return verdict
        repaired = self._repaired(text)
        return verdict if repaired is None or self._reasons(decode_json(repaired.text), repaired.text) else repaired

    def _repaired(self, text: str) -> Accepted | None:
        reason: str | None = None
        found = None if self._label.multi else self._as_text(text.strip())
        repairs: list[str] = []
        if found is None:
            try:
                parsed = parse_answer(text)
            except JsonTextError:
                found = self._plain(text)
            else:
                value = _only(parsed.value)
                in_prose = parsed.repair is not None and PROSE in parsed.repair
                if in_prose and not isinstance(value, dict):
                    # A bracket somewhere in a text is not its answer.
                    return None
                repairs = [parsed.repair] if parsed.repair else []
                repairs += ["list of one"] if value is not parsed.value else []
                found = self._value(value)
                reason = _reason_in(value)
        if found is None or (self._label.reason and reason is None):
            return None
        said = [*repairs, *found.repairs]
        answer: dict[str, Any] = {"reason": reason} if self._label.reason else {}
        answer |= {"labels": list(found.labels)} if self._label.multi else {"label": found.labels[0]}
        return Accepted(encode_json(answer).decode(), ", ".join(dict.fromkeys(said)) or "label")

    def _as_text(self, text: str) -> _Read | None:
        """A text that is a label letter by letter, even where it could be JSON."""
        return _Read((text,), ("bare label",)) if text in self._label.names else None

    def _plain(self, text: str) -> _Read | None:
        """Labels in an answer that is no JSON."""
        bare = _BEFORE_ANSWER.sub("", text, count=1)
        fenced = _FENCE.match(bare)
        bare = fenced[1] if fenced else bare
        if not self._label.multi:
            found = self._matcher.said(bare) or self._listed(bare)
            return None if found is None else _Read((found.name,), _told("bare label", found.differs))
        keyed = keyed_text(bare)
        if keyed is not None and not keyed[1].strip():
            found_several = self._several(keyed[0])
            return found_several and _Read(found_several.labels, ("key and label in words", *found_several.repairs))
        several = self._several(bare)
        return several and _Read(several.labels, ("bare labels", *several.repairs))

    def _listed(self, text: str) -> Match | None:
        """The label of a list's one line, as the prompt lists them. Not where the dash could be a label's sign."""
        bare = _BULLET.sub("", text)
        is_signed = any(name.lstrip()[:1] in "-*•" for name in self._label.names)
        return None if bare == text or is_signed else self._matcher.whole(bare)

    def _value(self, value: Any) -> _Read | None:
        """Labels in a JSON value: an object with the key that was asked for, or the label itself."""
        if isinstance(value, Mapping):
            found = _under_key(value)
            if found is None:
                return None
            key, told = found
            read = self._labels(told)
            if read is None:
                return None
            wanted = "labels" if self._label.multi else "label"
            beside = [name for name in value if name not in (key, "reason" if self._label.reason else key)]
            repairs = [*(["key"] if key != wanted else []), *(["other keys"] if beside else []), *read.repairs]
            return _Read(read.labels, tuple(repairs))
        read = self._labels(value)
        return read and _Read(read.labels, ("no key", *read.repairs))

    def _labels(self, told: Any) -> _Read | None:
        if self._label.multi:
            return self._several(told)
        if isinstance(told, list):
            inner = self._one(told[0]) if len(told) == 1 else None
            return inner and _Read(inner.labels, ("list of one", *inner.repairs))
        return self._one(told)

    def _one(self, told: Any) -> _Read | None:
        """One label: text, or a number or a boolean that is the label's own text."""
        if isinstance(told, str):
            found = self._matcher.whole(told)
            return None if found is None else _Read((found.name,), found.differs)
        meant = [name for name in _texts_of(told) if name in self._label.names]
        return _Read((meant[0],), ("not as text",)) if len(meant) == 1 else None

    def _several(self, told: Any) -> _Read | None:
        """Labels of a list, or of a text that parts them; in the order of the job. All are known, or it is none."""
        if isinstance(told, str):
            return self._parted(told)
        parts = told if isinstance(told, list) else [told]
        if parts == [NONE_APPLY] and NONE_APPLY not in self._label.names:
            return _Read((), ("none in words",))
        found = [self._one(part) for part in parts]
        if any(one is None for one in found):
            return None
        reads = [one for one in found if one is not None]
        named = [one.labels[0] for one in reads]
        repairs = [repair for one in reads for repair in one.repairs]
        repairs += [] if isinstance(told, list) else ["no list"]
        repairs += ["the same twice"] if len(set(named)) < len(named) else []
        return _Read(tuple(name for name in self._label.names if name in named), tuple(dict.fromkeys(repairs)))

    def _parted(self, text: str) -> _Read | None:
        """A text of one label, or of several by one sign. A label that holds the sign is not cut."""
        whole = self._several([text.strip()])
        if whole is not None:
            return _Read(whole.labels, ("no list", *whole.repairs))
        ways = []
        for sign in PARTED_BY:
            parts = [_BULLET.sub("", part) if sign == "\n" else part for part in text.split(sign) if part.strip()]
            read = self._several([part.strip() for part in parts]) if len(parts) > 1 else None
            if read is not None:
                ways.append(read)
        same = len({one.labels for one in ways}) == 1
        return _Read(ways[0].labels, ("no list", *ways[0].repairs)) if same else None


def _only(value: Any) -> Any:
    """The value itself, or the one object in a list of one."""
    is_wrapped = isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)
    return value[0] if is_wrapped else value


def _under_key(value: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The one entry that tells the label. None where there is none, or where two differ."""
    known = [(key, told) for key, told in value.items() if key.strip().lower() in KEYS]
    return known[0] if known and all(told == known[0][1] for _, told in known) else None


def _reason_in(value: Any) -> str | None:
    told = value.get("reason") if isinstance(value, Mapping) else None
    return told if isinstance(told, str) else None


def _texts_of(told: Any) -> tuple[str, ...]:
    """How a number or a boolean may be written as a label. Nothing for null, which is no label."""
    if told is None or not isinstance(told, (bool, int, float)):
        return ()
    exact = encode_json(told).decode()
    if isinstance(told, float) and told.is_integer():
        return tuple(dict.fromkeys((exact, str(int(told)))))
    return (exact,)


def _told(first: str, differs: tuple[str, ...]) -> tuple[str, ...]:
    return (
        differs if differs and differs[0] in ("key and label in words", "prose around the label") else (first, *differs)
    )
