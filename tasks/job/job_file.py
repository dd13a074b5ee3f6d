"""Job file: YAML, TOML or JSON → a Job whose paths are absolute and whose schema is loaded."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from rowmill.schemas.catalogue import Model, builtin_catalogue, parse_catalogue
from rowmill.schemas.errors import CatalogueError, JobError
from rowmill.schemas.job import Job
from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.tasks.answers.validator import load_schema, names_model

# The steps from a job's top to one of its keys.
Place = tuple[int | str, ...]
PATHS = ("input", "output", "media_root", "catalogue")


def load_job(path: Path, overrides: Mapping[str, Any] | None = None) -> Job:
    """The job of a file, flags applied. `overrides` holds dotted keys, such as `limits.rpm`.

    Raises JobError naming the file, the key and the mend; SchemaError for its schema.
    """
    told = _parse(path)
    if not isinstance(told, dict):
        raise JobError(
            "a job is a mapping of keys to values",
            where=str(path),
            hint="begin with a key, as in `model: gemini-3-pro`",
        )
    base = path.resolve().parent
    told = _with_absolute_paths(told, base)
    for key, value in (overrides or {}).items():
        _set(told, key, value)
    return resolve_job(job_of(told, str(path), lambda: _places(path)), base)


def job_of(told: Mapping[str, Any], where: str, places: Callable[[], Mapping[Place, str]] = dict) -> Job:
    """A mapping → a Job. Raises JobError with every wrong key at once, each with its place where that is known."""
    try:
        return Job.model_validate(told)
    except ValidationError as error:
        known = places()
        found = [_explain(one) + _at(one["loc"], known) for one in error.errors(include_url=False)]
        raise JobError("; ".join(found), where=where, hint="") from None


def resolve_job(job: Job, base: Path) -> Job:
    """The job as it travels: absolute paths, the schema itself in place of its name. Idempotent.

    Raises JobError for a path that no file of ours can name, SchemaError for the job's schema.
    """
    told: dict[str, Any] = {
        name: _absolute(getattr(job, name), base) for name in PATHS if getattr(job, name) is not None
    }
    for name, path in told.items():
        _refuse_unless_utf8(name, path)
    if job.output_schema is not None:
        told["output_schema"] = load_schema(job.output_schema, base)
        if isinstance(job.output_schema, str) and names_model(job.output_schema, base) and job.validator is None:
            told["validator"] = job.output_schema
    validator = told.get("validator") or job.validator
    if validator is not None and "/" not in validator:
        told["validator"] = f"{base}/{validator}"
    return job.model_copy(update=told)


def _refuse_unless_utf8(key: str, path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise JobError(
            f"the path {path!r} is no UTF-8",
            where=key,
            hint="rename it, or name input files by a pattern, such as data/*.jsonl",
        ) from None


def catalogue_of(job: Job, extra: str | None) -> dict[str, Model]:
    """The built-in models and those of the user's catalogues; a later one replaces an earlier of the same name."""
    models = builtin_catalogue()
    for name in (extra, job.catalogue):
        if name is None:
            continue
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CatalogueError(
                f"cannot be read: {error}",
                where=f"catalogue {name}",
                hint="`catalogue` and ROWMILL_CATALOGUE name a TOML file",
            ) from None
        models |= parse_catalogue(text, name)
    return models


def _parse(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise JobError(
            "no such job file", where=str(path), hint="`rowmill init DIR` makes a small job to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"cannot be read: {reason}", where=str(path), hint="a job file is text in UTF-8") from None
    ending = path.suffix.lower()
    try:
        if ending == ".toml":
            return tomllib.loads(text)
        if ending == ".json":
            return decode_json(text)
        if ending in (".yaml", ".yml"):
            return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise JobError(
            f"not valid YAML: {error.problem or error.context}",
            where=place,
            hint="text with a colon, a brace or a hash in it needs quotes",
        ) from None
    except (tomllib.TOMLDecodeError, JsonTextError, yaml.YAMLError) as error:
        raise JobError(f"not valid {ending[1:].upper()}: {error}", where=str(path), hint="mend it there") from None
    raise JobError(
        f"unknown kind of job file {ending or '(no ending)'}", where=str(path), hint="use .yaml, .toml or .json"
    )


def _places(path: Path) -> dict[Place, str]:
    """Line and column of each key of a YAML file; of other kinds nothing is known."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        return {}
    found: dict[Place, str] = {}
    walked: set[int] = set()

    def walk(node: yaml.Node | None, loc: Place) -> None:
        if id(node) in walked:
            # An alias, which may hold itself.
            return
        walked.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                found[(*loc, str(key.value))] = f"line {key.start_mark.line + 1}, column {key.start_mark.column + 1}"
                walk(value, (*loc, str(key.value)))
        elif isinstance(node, yaml.SequenceNode):
            for at, value in enumerate(node.value):
                found[(*loc, at)] = f"line {value.start_mark.line + 1}, column {value.start_mark.column + 1}"
                walk(value, (*loc, at))

    walk(yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader), ())
    return found


def _at(loc: Place, places: Mapping[Place, str]) -> str:
    """Where the key, or the nearest one around it, stands."""
    for end in range(len(loc), 0, -1):
        if loc[:end] in places:
            return f" ({places[loc[:end]]})"
    return ""


def _with_absolute_paths(told: dict[str, Any], base: Path) -> dict[str, Any]:
    return {
        key: _absolute(value, base) if key in PATHS and isinstance(value, str) else value for key, value in told.items()
    }


def _absolute(value: str, base: Path) -> str:
    if "://" in value:
        return value
    path = base / value
    return str(path.resolve() if ".." in path.parts else path.absolute())


def _set(told: dict[str, Any], key: str, value: Any) -> None:
    *outer, last = key.split(".")
    for name in outer:
        inner = told.get(name)
        told[name] = dict(inner) if isinstance(inner, dict) else {}
        told = told[name]
    told[last] = value


def _explain(error: Any) -> str:
    """One pydantic error in a user's words, with the nearest known key where one was misspelt."""
    place = ".".join(str(step) for step in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _keys_at(error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key {place!r}: {hint}"
    if error["type"] == "missing":
        return f"the key {place!r} is missing"
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{place}: {said[0].lower()}{said[1:]}" if place else said


def _keys_at(loc: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] | None = Job
    for step in loc:
        if model is not None and isinstance(step, str):
            info = model.model_fields.get(step)
            model = _model_in(info.annotation) if info else None
    return [info.alias or name for name, info in model.model_fields.items()] if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, alone, as one of several kinds, or many of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
