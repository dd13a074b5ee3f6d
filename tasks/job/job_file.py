"""Job file: YAML, TOML or JSON → a Job whose paths are absolute and whose schema is loaded."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from datetime import date, time
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rowmill.schemas.catalogue import Model, builtin_catalogue, parse_catalogue
from rowmill.schemas.errors import CatalogueError, JobError
from rowmill.schemas.input_sections import Query
from rowmill.schemas.job import Job
from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.tasks.answers.parser import read_exactly
from rowmill.tasks.answers.schema_file import load_schema, names_model
from rowmill.tasks.job.wrong_keys import wrong_keys
from rowmill.tasks.job.yaml_nodes import Place, YamlTextError
from rowmill.tasks.job.yaml_text import read_yaml

# Standard input; a file of this name is ./-
STANDARD_INPUT = "-"
PATHS = ("input", "output", "media_root", "catalogue")
ENDINGS = (".yaml", ".yml", ".toml", ".json")
# What Linux and macOS take for one name, and for a whole path.
NAME_MOST_BYTES, PATH_MOST_BYTES = 255, 4_095

Places = Callable[[], Mapping[Place, str]]


def load_job(path: Path, overrides: Mapping[str, Any] | None = None) -> Job:
    """The job of a file, flags applied. `overrides` holds dotted keys, such as `limits.rpm`.

    Raises JobError naming the file, the key and what to do; SchemaError for its schema.
    """
    keys, places = _parse(path)
    if not isinstance(keys, dict):
        raise JobError(
            "a job is a mapping of keys to values",
            where=str(path),
            hint="begin with a key, as in `model: gemini-3-pro`",
        )
    # By this key editors find the schema of a job file.
    keys.pop("$schema", None)
    base = path.resolve().parent
    keys = _with_absolute_paths(keys, base)
    for key, value in (overrides or {}).items():
        _set(keys, key, value)
    # What a flag gave stands nowhere in the file, though the key may.
    given: dict[Place, str] = {tuple(key.split(".")): "" for key in overrides or {}}
    return resolve_job(job_of(keys, str(path), lambda: {**places(), **given}), base)


def job_of(keys: Mapping[str, Any], where: str, places: Places = dict) -> Job:
    """A mapping → a Job. Raises JobError with every wrong key at once, each with its place where that is known."""
    try:
        return Job.model_validate(keys)
    except ValidationError as error:
        known = places()
        found = [f"{what}{_at(loc, known)}" for loc, what in wrong_keys(error.errors(include_url=False), keys)]
        raise JobError("; ".join(found), where=where, hint="") from None


def resolve_job(job: Job, base: Path) -> Job:
    """The job as it travels: absolute paths, the schema itself in place of its name. Idempotent.

    Raises JobError for a path that no file system takes, SchemaError for its schema.
    """
    resolved: dict[str, Any] = {
        name: _absolute(path, base) for name in PATHS if isinstance(path := getattr(job, name), str)
    }
    for name, path in resolved.items():
        _must_be_a_path(name, path)
    if isinstance(job.input, Query):
        resolved["input"] = _resolved_query(job.input, base)
    if job.output_schema is not None:
        resolved["output_schema"] = load_schema(job.output_schema, base)
        if isinstance(job.output_schema, str) and names_model(job.output_schema, base) and job.validator is None:
            resolved["validator"] = job.output_schema
    validator = resolved.get("validator") or job.validator
    if validator is not None and "/" not in validator:
        resolved["validator"] = f"{base}/{validator}"
    return job.model_copy(update=resolved)


def _resolved_query(query: Query, base: Path) -> Query:
    """The query with the paths of its folder and of a database file absolute."""
    told = {"folder": str(base / (query.folder or ""))}
    scheme, found, path = (query.connection or "").partition(":///")
    # As SQLAlchemy has it: three slashes and a relative path, four and an absolute one.
    if found and scheme in ("duckdb", "sqlite") and not path.startswith(("/", ":")):
        told["connection"] = f"{scheme}:///{base / path}"
    return query.model_copy(update=told)


def _must_be_a_path(key: str, path: str) -> None:
    reason, hint = None, "name a shorter one"
    if "\0" in path:
        reason, hint = "it holds a NUL character", "name another one"
    elif not _is_utf8(path):
        reason, hint = "it is no UTF-8", "rename it, or name input files by a pattern, such as data/*.jsonl"
    elif "://" not in path:
        raw = path.encode("utf-8", "surrogateescape")
        longest = max(map(len, raw.split(b"/")))
        if longest > NAME_MOST_BYTES:
            reason = f"one of its names has {longest:,} bytes, and a name has at most {NAME_MOST_BYTES}"
        elif len(raw) > PATH_MOST_BYTES:
            reason = f"it has {len(raw):,} bytes, and a path has at most {PATH_MOST_BYTES:,}"
    if reason is not None:
        raise JobError(f"the path {path[:60]!r}... cannot be one: {reason}", where=key, hint=hint)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def catalogue_of(job: Job, extra: str | None) -> dict[str, Model]:
    """The built-in models and those of the user's catalogues; a later one replaces an earlier of the same name."""
    models = builtin_catalogue()
    for name in (extra, job.catalogue):
        if name is None:
            continue
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise CatalogueError(
                f"cannot be read: {getattr(error, 'strerror', None) or error}",
                where=f"catalogue {name}",
                hint="`catalogue` and ROWMILL_CATALOGUE name a TOML file",
            ) from None
        models |= parse_catalogue(text, name)
    return models


def _parse(path: Path) -> tuple[Any, Places]:
    """What a job file holds, and where its keys stand (known of YAML alone). Raises JobError."""
    try:
        # Some editors begin a file with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise JobError(
            "no such job file", where=str(path), hint="`rowmill init DIR` makes a small job to start from"
        ) from None
    except IsADirectoryError:
        raise JobError("this is a folder", where=str(path), hint=_meant(path)) from None
    except (OSError, ValueError) as error:
        if path.suffix.lower() not in ENDINGS:
            raise _no_job(path) from None
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"cannot be read: {reason}", where=str(path), hint="a job file is text in UTF-8") from None
    ending = path.suffix.lower()
    try:
        if ending == ".toml":
            return _plain(tomllib.loads(text), str(path)), dict
        if ending == ".json":
            value = decode_json(text)
            read_exactly(text)
            return value, dict
        if ending in (".yaml", ".yml"):
            document = read_yaml(text)
            return document.value, document.places
    except YamlTextError as error:
        place = f"{path}, line {error.line}, column {error.column}" if error.line else str(path)
        raise JobError(f"not valid YAML: {error}", where=place, hint=error.hint) from None
    except (tomllib.TOMLDecodeError, JsonTextError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise JobError(f"not valid {ending[1:].upper()}: {reason}", where=str(path), hint="correct it there") from None
    raise _no_job(path)


def _plain(value: Any, where: str, *around: str) -> Any:
    """TOML's values as JSON has them: dates and times as text. Raises JobError for numbers that JSON has none of."""
    if isinstance(value, dict):
        return {name: _plain(part, where, *around, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part, where, *around, str(at)) for at, part in enumerate(value)]
    if isinstance(value, float) and not isfinite(value):
        raise JobError(
            f"{'.'.join(around)}: {value} is no number of JSON", where=where, hint="write one, or text in quotes"
        )
    return value.isoformat() if isinstance(value, date | time) else value


def _no_job(path: Path) -> JobError:
    """What a file of another kind is, such as the rows themselves."""
    return JobError(
        f"unknown kind of job file {path.suffix or '(no ending)'}",
        where=str(path),
        hint=f"use .yaml, .toml or .json; if these are the rows, a job names them: `input: {path.name}`",
    )


def job_in(folder: Path) -> Path | None:
    """The job file of a folder, where it bears the usual name."""
    return next((path for ending in ENDINGS if (path := folder / f"job{ending}").is_file()), None)


def _meant(folder: Path) -> str:
    """What was meant by a folder in the place of a job file, as far as it can be told."""
    if (folder / "run.json").exists():
        return "it is the output of a run, which rowmill status tells of; name the job file"
    found = job_in(folder)
    return f"name the job file in it: {found}" if found else "name a job file; `rowmill init DIR` makes a small job"


def _at(loc: Place, places: Mapping[Place, str]) -> str:
    """Where the key, or the nearest one around it, stands."""
    for end in range(len(loc), 0, -1):
        if (place := places.get(loc[:end])) is not None:
            return f" ({place})" if place else ""
    return ""


def _with_absolute_paths(keys: dict[str, Any], base: Path) -> dict[str, Any]:
    return {
        key: _absolute(value, base) if key in PATHS and isinstance(value, str) else value for key, value in keys.items()
    }


def _absolute(value: str, base: Path) -> str:
    if "://" in value or "\0" in value or value == STANDARD_INPUT:
        return value
    path = base / value
    return str(path.resolve() if ".." in path.parts else path.absolute())


def _set(keys: dict[str, Any], key: str, value: Any) -> None:
    *outer, last = key.split(".")
    for name in outer:
        inner = keys.get(name)
        keys[name] = dict(inner) if isinstance(inner, dict) else {}
        keys = keys[name]
    keys[last] = value
