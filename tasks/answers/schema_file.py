"""Schema file: the schema that a job names → a JSON Schema that compiles."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rowmill.schemas.errors import SchemaError, first_line
from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json
from rowmill.tasks.answers.parser import read_exactly
from rowmill.tasks.answers.validator import compile_schema


def load_schema(schema: str | dict[str, Any], base: Path) -> Any:
    """The JSON Schema a job names: inline, a file below `base`, or `package.module:PydanticModel`.

    Raises SchemaError where there is none or where it is no schema.
    """
    if isinstance(schema, dict):
        loaded: Any = schema
        where = "schema"
        _must_be_text(schema)
    elif ":" in schema and not _is_file(base / schema):
        loaded, where = _pydantic_schema(schema, base), f"schema {schema}"
    else:
        loaded, where = _read(base / schema), str(base / schema)
    compile_schema(loaded, where)
    return loaded


def _is_file(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _read(path: Path) -> Any:
    try:
        content = path.read_bytes()
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


def _pydantic_schema(name: str, base: Path) -> Any:
    module_name, _, class_name = name.partition(":")
    where = f"schema {name}"
    if str(base) not in sys.path:
        sys.path.insert(0, str(base))
    try:
        model = getattr(importlib.import_module(module_name), class_name)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise SchemaError(
                f"{class_name} is no pydantic model", where=where, hint="name a class that derives from BaseModel"
            )
        return model.model_json_schema()
    except SchemaError:
        raise
    except Exception as error:
        # The module is the user's: whatever it raises is told as theirs.
        raise SchemaError(
            f"cannot be imported: {type(error).__name__}: {first_line(error)}",
            where=where,
            hint="write a schema file's path, or package.module:PydanticModel",
        ) from None


def _must_be_text(schema: Any) -> None:
    """Raises SchemaError for an `enum` or `const` of texts that holds something else: words that lack their quotes."""
    for path, value in _unquoted(schema, ""):
        shown = encode_json(value).decode()
        raise SchemaError(
            f"{path} holds {shown}, which is read as {_kind(value)}, and the type here is string",
            where="schema",
            hint='put such a value in quotes, as it is meant: "NO", "1.10", "12:30"',
        )


def _unquoted(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "string":
            for keyword in ("enum", "const"):
                values = schema.get(keyword, [])
                for value in values if isinstance(values, list) else [values]:
                    if not isinstance(value, str):
                        yield f"{path}/{keyword}", value
        for key, part in schema.items():
            yield from _unquoted(part, f"{path}/{key}")
    elif isinstance(schema, list):
        for at, part in enumerate(schema):
            yield from _unquoted(part, f"{path}/{at}")


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", type(None): "null", list: "a list"}
    return names.get(type(value), "no text")
