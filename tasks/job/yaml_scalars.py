"""YAML scalars: which words of a job file are no text, and values written so that each is read as it was."""

from __future__ import annotations

import re
from typing import Any

import yaml

CORE = "tag:yaml.org,2002:"
MERGE, TEXT = f"{CORE}merge", f"{CORE}str"
# Line breaks to YAML 1.1 and text to 1.2: they come with what is pasted from other programs.
SEPARATORS = "\x85\u2028\u2029"
# The scalars that are no text: their patterns, and the characters with which they begin.
SCALARS = {
    f"{CORE}{name}": (re.compile(rf"^(?:{pattern})\Z"), first)
    for name, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("null", r"~|null|Null|NULL|", "~nN"),
        ("int", r"[-+]?(?:0|[1-9][0-9_]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
        (
            "float",
            r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?(?:0|[1-9][0-9]*)[eE][-+]?[0-9]+",
            "-+.0123456789",
        ),
        ("merge", r"<<", "<"),
    )
}


class _Dumper(yaml.SafeDumper):
    """SafeDumper that puts in quotes whatever a reader of either version takes for something else than text."""


_Dumper.yaml_implicit_resolvers = {first: [*known] for first, known in yaml.SafeDumper.yaml_implicit_resolvers.items()}
for _tag, (_pattern, _first) in SCALARS.items():
    _Dumper.add_implicit_resolver(_tag, _pattern, [*_first])


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar(TEXT, text, style='"' if any(sign in text for sign in SEPARATORS) else None)


_Dumper.add_representer(str, _represent_text)


def yaml_of(value: Any, *, width: int = 110) -> str:
    """JSON values as YAML text, which `read_yaml` and readers of YAML 1.1 read as the same values."""
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=width)
    return text
