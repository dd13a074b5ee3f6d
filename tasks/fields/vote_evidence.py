"""Vote evidence: the evidence of several answers → that of the output which they make together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rowmill.schemas.evidence import FieldEvidence, Match
from rowmill.tasks.fields.comparison import key_of
from rowmill.tasks.fields.tree import MISSING, pointer_of

_RANK = {Match.EXACT: 0, Match.NORMALIZED: 1, Match.NONE: 2}
# An answer, and where its values stand.
Supported = tuple[Any, Sequence[FieldEvidence]]


def evidence_of_votes(output: Any, answers: Sequence[Supported]) -> tuple[FieldEvidence, ...]:
    """For each value of an output the best evidence among the answers that say the same there, in its order.

    Of equally good ones that of the first answer stands: the nearest should come first.
    """
    best: dict[str, FieldEvidence] = {}
    values = dict(_values(output, ()))
    for answer, evidence in answers:
        said = dict(_values(answer, ()))
        for one in evidence:
            if key_of(said.get(one.field, MISSING)) != key_of(values.get(one.field, MISSING)):
                continue
            known = best.get(one.field)
            if known is None or _RANK[one.match] < _RANK[known.match]:
                best[one.field] = one
    return tuple(best[pointer] for pointer in values if pointer in best)


def _values(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every value inside a value with its JSON pointer, in its order."""
    left = [(path, value)]
    while left:
        path, value = left.pop()
        yield pointer_of(path), value
        parts: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        left += reversed([((*path, str(name)), part) for name, part in parts])
