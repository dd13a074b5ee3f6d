"""Label gold: a value that tells a row's right labels, from a column or from a person → the labels, or none."""

from __future__ import annotations

from typing import Any

from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json
from rowmill.schemas.label import Label, Labels
from rowmill.tasks.plan.label_match import LabelMatcher

SEVERAL = "|"
PARTED_BY = (";", ",", "\n")
# What programs write where a value is missing; and what people write, unless the job has such a label.
NO_VALUES = frozenset({"", "n/a", "#n/a", "nan", "<na>", "null", "#null!"})
NO_WORDS = NO_VALUES | {"na", "nil", "none", "-", "--", "?"}


class GoldReader:
    """Reads gold values of one job."""

    def __init__(self, label: Label) -> None:
        """Where the labels are not known yet (`label.column`) every text is one."""
        self._label = label
        self._names = frozenset(label.names) if label.labels is not None else frozenset()
        self._matcher = LabelMatcher(label) if self._names else None

    def labels(self, value: Any) -> Labels | None:
        """The labels that a gold value tells, in the job's spelling and order; None where it tells none.

        Text may hold several labels of a job that allows several, parted by `|`, or by another sign where every part is
        a label. Labels outside the job's set are returned as they stand.

        Raises ValueError for what cannot be labels.
        """
        if is_missing(value, self._names):
            return None
        if isinstance(value, str) and value.strip() not in self._names:
            value = self._parsed(value.strip())
        if not isinstance(value, (list, tuple)):
            return (self._spelled(_one(value)),)
        if not self._label.multi and len(value) > 1:
            raise ValueError("several labels where the job has one a row (label.multi allows several)")
        if not self._label.multi and not value:
            return None
        return self._in_order([self._spelled(_one(part)) for part in value])

    def _in_order(self, told: list[str]) -> Labels:
        known = [name for name in self._label.names if name in told] if self._names else []
        return (*known, *(name for name in dict.fromkeys(told) if name not in known))

    def _parsed(self, text: str) -> Any:
        """A text as it is, or the list that it writes down."""
        if text[:1] in ("[", "{"):
            try:
                told = decode_json(text)
            except JsonTextError:
                told = None
            if isinstance(told, dict) and set(told) == {"choices"}:
                # Label Studio's short forms write several choices so.
                told = told["choices"]
            if isinstance(told, list):
                return told
        if not self._label.multi or self._is_label(text):
            return text
        if SEVERAL in text:
            return [part for part in text.split(SEVERAL) if part.strip()]
        for sign in PARTED_BY:
            parts = [part for part in text.split(sign) if part.strip()]
            if len(parts) > 1 and all(map(self._is_label, parts)):
                return parts
        return text

    def _is_label(self, text: str) -> bool:
        return self._matcher is not None and self._matcher.whole(text) is not None

    def _spelled(self, name: str) -> str:
        found = self._matcher.whole(name) if self._matcher is not None else None
        return name if found is None else found.name


def is_missing(value: Any, names: frozenset[str] = frozenset()) -> bool:
    """Whether a cell says nothing: null, NaN, blanks, N/A. A label of that name is no missing value."""
    if value is None or value != value:
        return True
    if not isinstance(value, str):
        return False
    text = value.strip()
    return text not in names and text.lower() in (NO_WORDS if names else NO_VALUES)


def _one(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        # A column of numbers with gaps is read as one of floats.
        return str(int(value))
    if isinstance(value, (bool, int, float)):
        return encode_json(value).decode()
    raise ValueError(f"{encode_json(value)[:60].decode('utf-8', 'replace')} is no label")
