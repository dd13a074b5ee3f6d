"""The evidence of an output that votes make together is that of the votes that said its values."""

from __future__ import annotations

from rowmill.schemas.evidence import FieldEvidence, Match
from rowmill.tasks.fields.vote_evidence import evidence_of_votes


def test_each_value_has_the_best_evidence_among_those_who_said_it():
    """A quote for another value is not used; an exact one goes before one that is not there; the order is the output's."""
    output = {"b": [1, 2], "a/b": "x"}
    answers = [
        ({"a/b": "y", "b": [1]}, [FieldEvidence("/a~1b", "y", "t", 0, 1, Match.EXACT), FieldEvidence("/b/0", "one")]),
        ({"a/b": "x", "b": [1, 2]}, [
            FieldEvidence("/a~1b", "x", "t", 3, 4, Match.EXACT), FieldEvidence("/b/0", "1", "t", 5, 6, Match.NORMALIZED),
            FieldEvidence("/b/1", "two"),
        ]),
        ({"a/b": "x"}, [FieldEvidence("/a~1b", "x", "t", 9, 10, Match.EXACT)]),
    ]  # fmt: skip
    found = evidence_of_votes(output, answers)
    assert [(one.field, one.quote, one.start) for one in found] == [
        ("/b/0", "1", 5),
        ("/b/1", "two", None),
        ("/a~1b", "x", 3),
    ]
