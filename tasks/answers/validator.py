"""Validator: the job's schema compiled once, and an answer's text → accepted, or the reasons why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import msgspec

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.errors import SchemaError
from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json
from rowmill.schemas.output_schema import Shape, ShapeError, output_shape
from rowmill.tasks.answers.parser import Unfaithful, parse_answer

REASONS_MOST = 8
REASON_CHARS = 300
BACKTRACKS_MOST = 100_000


class Accepted(msgspec.Struct, frozen=True):
    """An answer that meets the schema: its JSON text (plain text without a schema) and what was fixed in it."""

    text: str
    repair: str | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An answer that does not: why, in words the model can use."""

    kind: FailureKind
    reasons: tuple[str, ...]

    @property
    def message(self) -> str:
        return "; ".join(self.reasons)


def compile_schema(schema: Any, where: str) -> jsonschema_rs.Draft202012Validator:
    """A validator that fetches nothing and whose patterns cannot run away. Raises SchemaError."""
    try:
        return jsonschema_rs.Draft202012Validator(
            schema,
            validate_formats=True,
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
        message = getattr(error, "message", None) or str(error)
        path = "/".join(str(step) for step in getattr(error, "instance_path", []))
        place = f" at /{path}" if path else ""
        raise SchemaError(
            f"not a JSON Schema{place}: {str(message)[:REASON_CHARS]}",
            where=where,
            hint="JSON Schema 2020-12 is expected",
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

    def __init__(self, schema: Any) -> None:
        self.shape: Shape = output_shape(schema)
        self._compiled = compile_schema(schema, "schema") if schema is not None else None

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
        reasons = self._reasons(parsed.value)
        if reasons:
            return Rejected(FailureKind.SCHEMA_VIOLATION, reasons)
        return Accepted(parsed.text, parsed.repair)

    def _reasons(self, value: Any) -> tuple[str, ...]:
        assert self._compiled is not None
        try:
            if not self._compiled.is_valid(value):
                return self._violations(value)
            self.shape.convert(value)
        except (ShapeError, ValueError, OverflowError, RecursionError) as error:
            return (str(error)[:REASON_CHARS],)
        return ()

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
