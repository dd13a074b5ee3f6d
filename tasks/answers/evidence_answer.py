"""Evidence answer: an answer with quotes → the output the job wants, and the evidence for it in the row's own texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.display_text import counted
from rowmill.schemas.evidence import FieldEvidence, Match
from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json
from rowmill.tasks.answers.evidence_fields import EVERY, EvidenceFields, Steps, ValueRule, pointer, steps_said
from rowmill.tasks.answers.evidence_schema import EVIDENCE, OUTPUT
from rowmill.tasks.answers.locator import Quoted, locate
from rowmill.tasks.answers.parser import parse_answer
from rowmill.tasks.answers.source_text import Place, SourceText
from rowmill.tasks.answers.validator import Accepted, Rejected, Validator
from rowmill.tasks.answers.value_check import value_in_quote

NOT_IN_PARTS = "the answer is no object of `output` and `evidence`"
# Fields that a message names, and how much of each quote.
NAMED_MOST, QUOTE_CHARS = 8, 120

# A row's columns → the texts that its quotes may stand in, by column.
Sources = Callable[[Mapping[str, Any]], Mapping[str, SourceText]]


class EvidenceValidator(Validator):
    """Judges answers in two parts: `output` by the job's own schema, as if it were alone, and the quotes beside it."""

    answers_are_outputs = False

    def __init__(
        self, fields: EvidenceFields, sources: Sources, model: str | None = None, *, required: bool = False
    ) -> None:
        super().__init__(fields.schema, model)
        self.requires_evidence = required
        self._fields, self._sources = fields, sources
        self._rules: dict[Steps, ValueRule] = {}
        schema = fields.schema if isinstance(fields.schema, Mapping) else {}
        self._own_names = frozenset(schema.get("properties") or ())

    def judge(self, text: str) -> Accepted | Rejected:
        """Accepted with the output's JSON text and the quotes that came with it, or rejected.

        An answer that is the output alone is accepted too, without quotes: what was paid for is not thrown away, and
        the quotes are asked for again.
        """
        try:
            parsed = parse_answer(text)
        except JsonTextError:
            return super().judge(text)
        value = parsed.value
        first: tuple[str, ...] = (NOT_IN_PARTS,)
        for output, quotes in self._parts(value):
            reasons = self._reasons(output, parsed.text)
            if not reasons:
                return Accepted(encode_json(output).decode(), parsed.repair, _quotes(quotes))
            first = reasons if first == (NOT_IN_PARTS,) else first
        return Rejected(FailureKind.SCHEMA_VIOLATION, first)

    def _parts(self, value: Any) -> list[tuple[Any, Any]]:
        """What may be meant by an answer, as output and quotes, the likeliest first."""
        if not isinstance(value, dict):
            return [(value, None)]
        if OUTPUT in value and value.keys() <= {OUTPUT, EVIDENCE}:
            found = [(value[OUTPUT], value.get(EVIDENCE))]
            # A job's own schema may have a field of this name.
            return found if EVIDENCE in value or OUTPUT not in self._own_names else [*found, (value, None)]
        if EVIDENCE in value and EVIDENCE not in self._own_names:
            return [({name: part for name, part in value.items() if name != EVIDENCE}, value[EVIDENCE])]
        return [(value, None)]

    def evidence(self, accepted: Accepted, columns: Mapping[str, Any]) -> tuple[FieldEvidence, ...]:
        """The evidence of an accepted answer's values, in its order, in the texts of the row it was given for."""
        output = decode_json(accepted.text)
        sources = self._sources(columns)
        values = list(self._fields.values(output))
        known = {steps for steps, _ in values}
        said: dict[Steps, list[str]] = {}
        for name, passage in accepted.quotes or ():
            said.setdefault(steps_said(name, known), []).append(passage)
        quotes = [_best(said.get(steps), sources) for steps, _ in values]
        asked = [Quoted(quote, pointer(steps[:-1])) for (steps, _), quote in zip(values, quotes, strict=True) if quote]
        spans = iter(locate(asked, sources))
        found = []
        for (steps, value), quote in zip(values, quotes, strict=True):
            span = next(spans) if quote else None
            if span is None:
                found.append(FieldEvidence(pointer(steps), quote or None))
                continue
            held = _holds(value, sources[span.column], (span.start, span.end), rule=self._rule(steps))
            found.append(FieldEvidence(pointer(steps), span.text, span.column, span.start, span.end, span.match, held))
        return tuple(found)

    def _rule(self, steps: Steps) -> ValueRule:
        """What the schema says of a field; items of a list share theirs."""
        place = tuple(EVERY if step.isdigit() else step for step in steps)
        if place not in self._rules:
            self._rules[place] = self._fields.rule(steps)
        return self._rules[place]


def _holds(value: Any, source: SourceText, place: Place, *, rule: ValueRule) -> bool | None:
    """Whether a quote holds its value; None where it does only because it cuts a word or a number, as 5 in "2015"."""
    held = value_in_quote(value, source.passage(place), rule)
    if held is not True or not source.cuts_a_word(place):
        return held
    return True if value_in_quote(value, source.whole_passage(place), rule) is True else None


def _quotes(told: Any) -> tuple[tuple[str, str], ...]:
    """The quotes that came with an answer; what is no field with its quote is as if it had not come."""
    if isinstance(told, dict):
        return tuple((name, quote) for name, quote in told.items() if isinstance(quote, str))
    entries = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    pairs = ((one.get("field"), one.get("quote")) for one in entries)
    return tuple((name, quote) for name, quote in pairs if isinstance(name, str) and isinstance(quote, str))


def _best(quotes: Sequence[str] | None, sources: Mapping[str, SourceText]) -> str | None:
    """The quote of a field; of several the first that stands there as it is, else the first that stands there."""
    if not quotes or len(quotes) == 1:
        return quotes[0] if quotes else None
    found = [(quote, {source.places(quote)[0] for source in sources.values()}) for quote in quotes[:NAMED_MOST]]
    for match in (Match.EXACT, Match.NORMALIZED):
        for quote, matches in found:
            if match in matches:
                return quote
    return quotes[0]


def unsupported(evidence: Sequence[FieldEvidence]) -> list[FieldEvidence]:
    """The values whose quote stands nowhere."""
    return [one for one in evidence if one.match is Match.NONE]


def unsupported_message(lacking: Sequence[FieldEvidence]) -> str:
    """What a row's error, and the model, are told of them."""
    named = [f"{one.field or 'the answer'}: {_said(one)}" for one in lacking[:NAMED_MOST]]
    more = f"; and {len(lacking) - NAMED_MOST:,} more" if len(lacking) > NAMED_MOST else ""
    return "; ".join(named) + more


def _said(one: FieldEvidence) -> str:
    if one.quote is None:
        return "no quote was given"
    return f"{one.quote[:QUOTE_CHARS]!r} does not stand in the text"


def ask_for_support(lacking: Sequence[FieldEvidence]) -> str:
    """What the model is told when it is asked again for the fields that have no support."""
    named = "\n".join(f"- {one.field or '(the whole)'}: {_said(one)}" for one in lacking[:NAMED_MOST])
    more = f"\n- and {counted(len(lacking) - NAMED_MOST, 'more field')}" if len(lacking) > NAMED_MOST else ""
    return (
        f"The quotes of these fields were not found:\n{named}{more}\nAnswer again, whole, as a JSON value and nothing "
        "else. For each of these fields quote a passage that stands in the text, copied character for character. Where "
        "the text says something else, correct the value; where it says nothing, give null or leave the field out if "
        "the schema allows that. Leave all other fields as they are."
    )
