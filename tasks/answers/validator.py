"""Validator: the job's schema compiled once, and an answer's text → accepted, or the reasons why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import msgspec

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.errors import SchemaError
from rowmill.schemas.evidence import FieldEvidence
from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json, shortened_number
from rowmill.schemas.output_schema import Shape, ShapeError, output_shape
from rowmill.tasks.answers.dialects import Compiled, validator_class
from rowmill.tasks.answers.parser import Unfaithful, parse_answer
from rowmill.tasks.answers.pydantic_model import load_model, model_reasons
from rowmill.tasks.answers.schema_checks import faulty_hint

REASONS_MOST = 8
REASON_CHARS = 300
BACKTRACKS_MOST = 100_000
# JSON Schema's times have a zone (RFC 3339), its durations no fractions, its addresses ASCII alone; a pydantic model
# takes more, and judges them itself.
LEFT_TO_MODELS: Mapping[str, Callable[[str], bool]] = {
    name: lambda text: True for name in ("date-time", "duration", "time", "uri")
}


class Accepted(msgspec.Struct, frozen=True):
    """An answer that meets the schema: its JSON text (plain text without a schema) and what was fixed in it.

    `quotes` are fields with the passages that the model quoted for them, None where it was asked for none.
    """

    text: str
    repair: str | None
    quotes: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An answer that does not: why, in words the model can use."""

    kind: FailureKind
    reasons: tuple[str, ...]

    @property
    def message(self) -> str:
        return "; ".join(self.reasons)


def compile_schema(schema: Any, where: str, *, formats: Mapping[str, Callable[[str], bool]] | None = None) -> Compiled:
    """A validator of the schema's draft that fetches nothing and whose patterns cannot run away; `formats` are judged
    otherwise than the draft does. Raises SchemaError.
    """
    validator = validator_class(schema, where)
    try:
        return validator(
            schema,
            validate_formats=True,
            formats=dict(formats or {}),
            offline=True,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS_MOST),
        )
    except (jsonschema_rs.ReferencingError, jsonschema_rs.ValidationError, ValueError, TypeError) as error:
        outside = next(_outside_references(schema), None)
        if outside is not None:
            raise SchemaError(
                f"the $ref {outside!r} points outside the schema",
                where=where,
                hint="nothing is fetched: copy what it points to under $defs",
            ) from None
        message = str(getattr(error, "message", None) or error)[:REASON_CHARS]
        path = "/".join(str(step) for step in getattr(error, "instance_path", []))
        place = f" at /{path}" if path else ""
        raise SchemaError(
            f"not a JSON Schema{place}: {message}", where=where, hint=faulty_hint(schema, error)
        ) from None


def _outside_references(schema: Any) -> Iterator[str]:
    """The `$ref`s of a schema that are no pointers into it."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str) and not value.startswith("#"):
                yield value
            else:
                yield from _outside_references(value)
    elif isinstance(schema, list):
        for part in schema:
            yield from _outside_references(part)


class Validator:
    """Judges answers against one schema; without a schema every text that says something is accepted."""

    # Whether an accepted answer's text is the output itself, unless it was repaired.
    answers_are_outputs = True
    # Whether an answer with a field whose quote stands nowhere is refused in the end.
    requires_evidence = False

    def __init__(self, schema: Any, model: str | None = None) -> None:
        """`model` names a pydantic model whose own validators judge what meets the schema. Raises SchemaError."""
        self.shape: Shape = output_shape(schema)
        self._model = load_model(model) if model is not None else None
        formats = LEFT_TO_MODELS if model is not None else None
        self._compiled = compile_schema(schema, "schema", formats=formats) if schema is not None else None

    def evidence(self, accepted: Accepted, columns: Mapping[str, Any]) -> tuple[FieldEvidence, ...]:
        """Where the values of an answer stand in the row's columns; nothing where the job asks for no quotes."""
        return ()

    @property
    def has_schema(self) -> bool:
        return self._compiled is not None

    def judge(self, text: str) -> Accepted | Rejected:
        if self._compiled is None:
            if text.strip():
                return Accepted(text, None)
            return Rejected(FailureKind.EMPTY_ANSWER, ("the answer is empty",))
        if not text.strip():
            return Rejected(FailureKind.EMPTY_ANSWER, ("the answer is empty; one JSON value is expected",))
        try:
            parsed = parse_answer(text)
        except Unfaithful as error:
            return Rejected(FailureKind.INVALID_JSON, (str(error),))
        except JsonTextError as error:
            return Rejected(FailureKind.INVALID_JSON, (f"the answer is not one JSON value: {error}",))
        reasons = self._reasons(parsed.value, parsed.text)
        if reasons:
            return Rejected(FailureKind.SCHEMA_VIOLATION, reasons)
        return Accepted(parsed.text, parsed.repair)

    def meets(self, value: Any) -> bool:
        """Whether an output that nobody said as a whole meets the schema, and what else judges answers."""
        return not self._reasons(value, encode_json(value).decode())

    def _reasons(self, value: Any, text: str) -> tuple[str, ...]:
        assert self._compiled is not None
        try:
            if not self._compiled.is_valid(value):
                return self._violations(value)
            self.shape.convert(value)
        except (ShapeError, ValueError, OverflowError, RecursionError) as error:
            return (str(error)[:REASON_CHARS],)
        if (number := shortened_number(text)) is not None:
            return (f"the number {number[:60]} has more digits than a double holds",)
        return model_reasons(self._model, value) if self._model is not None else ()

    def _violations(self, value: Any) -> tuple[str, ...]:
        assert self._compiled is not None
        reasons: list[str] = []
        for error in self._compiled.iter_errors(value):
            path = "/" + "/".join(str(step) for step in error.instance_path)
            reasons.append(f"at {path}: {error.message[:REASON_CHARS]}")
            if len(reasons) == REASONS_MOST:
                break
        return tuple(reasons) or ("the answer breaks the schema",)


def output_value(text: str, shape: Shape) -> Any:
    """An accepted answer's text as its column holds it."""
    return shape.convert(decode_json(text))


def schema_text(schema: Any) -> str:
    """The schema as it is shown to a model."""
    return encode_json(schema).decode()
