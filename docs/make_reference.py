"""Writes docs/reference.md from the job model, the command line and the results schema. `make docs` runs it."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rowmill.flows.commands.arguments import parser
from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.job import Job
from rowmill.schemas.outcome import NEVER_ASKED, Status
from rowmill.schemas.results import HEAD, OPTIONAL, TAIL, label_columns
from rowmill.schemas.termination import EXIT_CODES, TerminationKind

TARGET = Path(__file__).parent / "reference.md"
HEADING = """\
# Reference
<!-- Written by docs/make_reference.py (`make docs`) from the code; a test keeps it true. -->

A job file is YAML, TOML or JSON. Paths in it are relative to the file. An unknown key is refused.

YAML is read as version 1.2 has it: `yes`, `no`, `on`, `12:30` and `2026-01-05` are text, `0o17` is 15. `007` (two
versions read two numbers), `.inf` and `.nan` are text too; `1_000` is 1000. Keys are text as they are written and stand
once. What YAML takes for a number and a job needs as text (a column `2024`, a label `1.10`) is refused with "put it in
quotes". Anchors, aliases and `<<` are known; tags (`!!binary`, `!mine`), several documents and tabs between tokens are
refused. In TOML dates and times are text.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEADING, "## Job", *_section(Job, "")]
    parts += ["## Commands", *_commands(parser())]
    parts += ["## Exit codes and terminations", _terminations()]
    parts += ["## Columns of the results", _columns()]
    parts += ["## Kinds of failure", _kinds()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _section(model: type[BaseModel], path: str) -> list[str]:
    """A table of the keys of a section, followed by those of its subsections."""
    rows, inner = [], []
    for name, info in model.model_fields.items():
        key = f"{path}{info.alias or name}"
        rows.append(f"| `{key}` | {_type(info.annotation)} | {_default(info)} | {_words(info, key)} |")
        for part in _models(info.annotation):
            inner.append((part, f"{key}."))
    about = [(model.__doc__ or "").strip().splitlines()[0]] if path else []
    found = [*about, "\n".join(["| key | type | default | description |", "| --- | --- | --- | --- |", *rows])]
    for part, inner_path in inner:
        found += [f"### `{inner_path[:-1]}`", *_section(part, inner_path)]
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models(part)]


def _type(annotation: Any) -> str:
    """A type as the author of a job file would call it."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in inside if part is not NoneType)
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in inside)
    if origin is list:
        return f"list of {_type(inside[0])}"
    if origin is dict or annotation is dict:
        return "mapping"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "`true` \\| `false`", "Decimal": "amount"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, "section" if _models(annotation) else name)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default is PydanticUndefined or info.default in (None, ""):
        return ""
    return f"`{str(info.default).lower() if isinstance(info.default, bool) else info.default}`"


def _words(info: FieldInfo, key: str) -> str:
    bounds = [f"{name} {value}" for part in info.metadata for name, value in _bounds(part)]
    words = info.description or ("see below" if _models(info.annotation) else "")
    assert words, f"{key} has no description"
    return words.replace("|", "\\|") + (f" ({', '.join(bounds)})" if bounds else "")


def _bounds(part: Any) -> list[tuple[str, Any]]:
    names = {"gt": "above", "ge": "from", "le": "to", "lt": "below"}
    return [(words, getattr(part, name)) for name, words in names.items() if getattr(part, name, None) is not None]


def _commands(root: argparse.ArgumentParser) -> list[str]:
    pages = []
    action = next(one for one in root._actions if isinstance(one, argparse._SubParsersAction))
    helps = {one.dest: one.help for one in action._choices_actions}
    for name, command in action.choices.items():
        words = [one for one in command._actions if not isinstance(one, argparse._HelpAction)]
        usage = " ".join(
            [f"rowmill {name}", *(str(one.metavar or one.dest) for one in words if not one.option_strings)]
        )
        does = str(helps[name])
        pages += [f"### `{usage}`", f"{does[0].upper()}{does[1:]}."]
        rows = [f"| `{', '.join(one.option_strings)}{_value(one)}` | {(one.help or '').replace('%%', '%')} |"
                for one in words if one.option_strings]  # fmt: skip
        if rows:
            pages.append("\n".join(["| flag | description |", "| --- | --- |", *rows]))
    return pages


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    name = action.metavar or action.dest.upper()
    return f" [{name}]" if action.nargs == "?" else f" {name}"


def _terminations() -> str:
    rows = [f"| `{kind.value}` | {int(code)} |" for kind, code in EXIT_CODES.items()]
    assert len(rows) == len(TerminationKind)
    return "\n".join(["| `termination.kind` in run.json | exit |", "| --- | --- |", *rows]) + (
        "\n\n`complete` with rows that are not ok exits with 3, a defect of rowmill with 1."
    )


def _columns() -> str:
    optional = [*((one.name, one.type) for one in OPTIONAL), ("field_correct", "struct like `output`, true or false"),
                ("field_agreement", "struct like `output`, doubles"),
                *label_columns(multi=False)]  # fmt: skip
    statuses = " · ".join(f"`{one.value}`" for one in Status)
    rows = [*((one.name, one.type) for one in HEAD), ("the `id` column, under its own name", "as in the input"),
            ("the `keep` columns", "as in the input"), ("status", statuses), ("output", "typed from the schema"),
            *((one.name, one.type) for one in TAIL)]  # fmt: skip
    lines = [f"| {name if ' ' in name else f'`{name}`'} | {kind} |" for name, kind in rows]
    more = [f"| `{name}` | {kind} |" for name, kind in optional]
    return "\n".join(
        ["| column | type |", "| --- | --- |", *lines, "", "Only if the job asks for them:", "", "| column | type |",
         "| --- | --- |", *more]
    )  # fmt: skip


def _kinds() -> str:
    return (
        "`error_kind` of a row, the keys of `totals.retries`, and what `--retry-failed` takes: "
        + ", ".join(f"`{kind.value}`" for kind in FailureKind)
        + "; for rows that were never asked "
        + ", ".join(f"`{kind}`" for kind in NEVER_ASKED)
        + "."
    )


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
