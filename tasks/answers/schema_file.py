"""Schema file: the schema that a job names → a JSON Schema that compiles."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

from rowmill.schemas.errors import SchemaError
from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.tasks.answers.dialects import standard_form
from rowmill.tasks.answers.parser import read_exactly
from rowmill.tasks.answers.pydantic_model import load_model, model_schema
from rowmill.tasks.answers.schema_checks import refuse_faulty
from rowmill.tasks.answers.schema_size import refuse_too_large
from rowmill.tasks.answers.validator import compile_schema


def load_schema(schema: str | dict[str, Any] | bool, base: Path) -> Any:
    """The JSON Schema a job names: inline, a file below `base`, or `package.module:PydanticModel`.

    Raises SchemaError where there is none, where it is no schema, or where no answer could meet it.
    """
    if not isinstance(schema, str):
        loaded: Any = schema
        where = "schema"
    elif names_model(schema, base):
        where = f"schema {schema}"
        loaded = model_schema(load_model(f"{base}/{schema}"), where)
    else:
        loaded, where = _read(base / schema), str(base / schema)
    try:
        loaded = standard_form(loaded)
        refuse_too_large(loaded, where)
        compile_schema(loaded, where)
        refuse_faulty(loaded, where)
    except RecursionError:
        raise SchemaError(
            "the schema is nested too deeply", where=where, hint="flatten it, or name its levels under $defs"
        ) from None
    return loaded


def names_model(schema: str, base: Path) -> bool:
    """Whether a schema's name is that of a pydantic model, and not of a file."""
    return ":" in schema and not _is_file(base / schema)


def _is_file(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _read(path: Path) -> Any:
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SchemaError(
            f"cannot be read: {reason}", where=f"schema {path}", hint="`schema` is relative to the job file"
        ) from None
    try:
        schema = decode_json(content)
        read_exactly(content.decode("utf-8", "replace"))
    except JsonTextError as error:
        raise SchemaError(f"not valid JSON: {error}", where=f"schema {path}", hint="correct it there") from None
    return schema
