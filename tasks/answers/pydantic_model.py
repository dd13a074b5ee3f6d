"""Pydantic model: the class a job names, its JSON Schema, and its own validators over each answer."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DecimalSchema, ModelField

from rowmill.schemas.errors import SchemaError
from rowmill.schemas.json_text import encode_json

REASONS_MOST = 8
# Models of this process, by the names under which a job knows them: one made in a notebook stands in no module.
_KNOWN: dict[str, type[BaseModel]] = {}


def name_of(model: type[BaseModel]) -> str:
    """A name by which a job of this process finds the model again."""
    name = f"{model.__module__}:{model.__qualname__}"
    _KNOWN[name] = model
    return name


def load_model(name: str) -> type[BaseModel]:
    """The model of `[FOLDER/]package.module:Model`; a module is looked for below the folder first.

    Raises SchemaError, in one sentence with file and line, for whatever its import raises.
    """
    folder, _, dotted = name.rpartition("/")
    if dotted in _KNOWN:
        return _KNOWN[dotted]
    where = f"schema {dotted}"
    module_name, _, class_name = dotted.partition(":")
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        hint = "write a schema file's path, or package.module:PydanticModel; a module stands beside the job file"
        raise SchemaError(f"cannot be imported: {error}{_line(error)}", where=where, hint=hint) from None
    except (Exception, SystemExit) as error:
        # The user's own code: whatever it raises is shown.
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SchemaError(
            f"importing it fails with {message}{_line(error)}", where=where, hint="correct it there"
        ) from None
    model: Any = module
    for step in class_name.split("."):
        model = getattr(model, step, None)
    if model is None:
        raise SchemaError(
            f"the module {module_name} has no {class_name!r}", where=where, hint="name a class that stands in it"
        )
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise SchemaError(
            f"{class_name} is no pydantic model", where=where, hint="name a class that derives from BaseModel"
        )
    return model


class _UnreachableError(Exception):
    """A field that no answer to the model's JSON Schema can fill in."""


class _SchemaOfModel(GenerateJsonSchema):
    """pydantic's own, with what it leaves out and answers depend on."""

    def emit_warning(self, kind: Any, detail: str) -> None:
        """Nothing on the terminal: a default that JSON does not know is left out, and no answer depends on it."""

    def decimal_schema(self, schema: DecimalSchema) -> JsonSchemaValue:
        # pydantic 2.13 and later say nothing by which a Decimal is told from a union of number and text.
        found = super().decimal_schema(schema)
        text: dict[str, Any] = next((part for part in found.get("anyOf", ()) if part.get("type") == "string"), {})
        if text == {"type": "string"}:
            text["format"] = "decimal"
        return found

    def model_field_schema(self, schema: ModelField) -> JsonSchemaValue:
        # JSON Schema has no word for AliasPath("names", 0), and pydantic's calls the field by its own name.
        alias = schema.get("validation_alias")
        paths: list[Any] = alias if isinstance(alias, list) and isinstance(alias[0], list) else [alias]
        if not any(path is None or isinstance(path, str) or len(path) == 1 for path in paths) and not (
            self._config.populate_by_name or self._config.validate_by_name
        ):
            raise _UnreachableError(f"AliasPath({', '.join(map(repr, paths[0]))})")
        return super().model_field_schema(schema)


def model_schema(model: type[BaseModel], where: str) -> dict[str, Any]:
    """The JSON Schema of a model. Raises SchemaError where pydantic cannot write one."""
    try:
        return model.model_json_schema(schema_generator=_SchemaOfModel)
    except PydanticUserError as error:
        raise SchemaError(
            f"pydantic cannot write its JSON Schema: {error.message.splitlines()[0]}",
            where=where,
            hint="use types that JSON knows",
        ) from None
    except _UnreachableError as error:
        raise SchemaError(
            f"a field is read by {error}, which no JSON Schema tells: every answer would be invalid",
            where=where,
            hint="give it a name of its own, by AliasChoices or populate_by_name",
        ) from None


def _line(error: BaseException) -> str:
    """Where in the user's files an import failed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
        and Path(frame.filename) != Path(__file__)
        and "importlib" not in Path(frame.filename).parts
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def model_reasons(model: type[BaseModel], value: Any) -> tuple[str, ...]:
    """Why the model's validators refuse a JSON value, in words a language model can use; empty where they take it."""
    try:
        model.model_validate_json(encode_json(value))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        return tuple(
            f"at /{'/'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in errors[:REASONS_MOST]
        )
    except Exception as error:
        # A validator of the user's that fails on this value: the row's matter, with its name.
        return (f"{model.__name__} fails with {type(error).__name__}: {error}",)
    return ()
