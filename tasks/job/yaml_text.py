"""YAML text → plain values, by the scalars of YAML 1.2, with the place of each key.

`yes`, `no`, `on`, `off`, `12:30` and dates are text, as YAML 1.2 has it (its core schema, chapter 10.3); keys are
always text, as they are written. Merge keys (`<<`) and `1_000` are read as YAML 1.1 reads them, as job files have them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

# The steps from a file's top to one of its keys.
Place = tuple[int | str, ...]
# How many nodes aliases may stand for, beyond those that are written down.
ALIASED_MOST = 100_000
NESTING_MOST = 200
MERGE = "tag:yaml.org,2002:merge"


class YamlTextError(ValueError):
    """The text is no YAML that can be read; `line` and `column` begin at 1, and are 0 where nothing is known."""

    def __init__(self, message: str, line: int = 0, column: int = 0, *, hint: str = "correct it there") -> None:
        super().__init__(message)
        self.line, self.column, self.hint = line, column, hint


@dataclass(frozen=True, slots=True)
class YamlText:
    """The value of a text, and its nodes, which know where they stand."""

    value: Any
    node: yaml.Node | None

    def places(self) -> dict[Place, str]:
        """Where each key and each item stands: `line 3, column 1`."""
        found: dict[Place, str] = {}
        if self.node is not None:
            _find_places(self.node, (), found)
        return found


def read_yaml(text: str) -> YamlText:
    """The one document of a text. Raises YamlTextError naming the line where that is known."""
    try:
        node = yaml.compose(text, _Loader)
        if node is None:
            return YamlText(None, None)
        _must_be_bounded(node)
        return YamlText(_Loader("").construct_document(node), node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = error.problem or error.context or "unreadable"
        place = (mark.line + 1, mark.column + 1) if mark else ()
        raise YamlTextError(message, *place, hint="text with a colon, a brace or a hash in it needs quotes") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, YamlTextError):
            raise
        raise YamlTextError(str(error)) from None
    except RecursionError:
        raise YamlTextError("nested too deeply") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2, keys that are text, and none of them twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def fetch_flow_collection_start(self, token: Any) -> None:
        # Each level makes every further token slower to find.
        if self.flow_level >= NESTING_MOST:
            raise YamlTextError("nested too deeply", self.line + 1, self.column + 1)
        super().fetch_flow_collection_start(token)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != MERGE and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _error(f"the key {key.value!r} stands twice", key)
                seen.add(key.value)
        # Keys that a merge brings come first, and give way to the mapping's own.
        self.flatten_mapping(node)
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key must be a text", key)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("int", r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), [*_first])
_Loader.yaml_implicit_resolvers[""] = [("tag:yaml.org,2002:null", re.compile(r"^$"))]


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "")
    return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(node.value)


def _construct_bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return bool(node.value.lower() == "true")


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
_Loader.add_constructor("tag:yaml.org,2002:bool", _construct_bool)


def _error(message: str, node: yaml.Node) -> YamlTextError:
    return YamlTextError(message, node.start_mark.line + 1, node.start_mark.column + 1)


def _children(node: yaml.Node) -> list[tuple[int | str, yaml.Node]]:
    """What a node holds, each with its key or its place; keys that are no text hold something too."""
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value)[:40], part) for key, value in node.value for part in (key, value)]
    return list(enumerate(node.value)) if isinstance(node, yaml.SequenceNode) else []


def _must_be_bounded(root: yaml.Node) -> None:
    """Raises YamlTextError for aliases that hold themselves, or that stand for more than a file should hold."""
    sizes: dict[int, int] = {}
    _size(root, (), sizes, around=set())
    if sizes[id(root)] - len(sizes) > ALIASED_MOST:
        raise YamlTextError(f"its aliases stand for {sizes[id(root)]:,} values", hint="write out what is meant")


def _size(node: yaml.Node, path: Place, sizes: dict[int, int], *, around: set[int]) -> int:
    """How many nodes a node stands for, aliases written out."""
    if id(node) in around:
        raise _error(f"{'.'.join(map(str, path))}: an alias stands inside of what it names", node)
    if id(node) not in sizes:
        around.add(id(node))
        sizes[id(node)] = 1 + sum(_size(child, (*path, key), sizes, around=around) for key, child in _children(node))
        around.discard(id(node))
    return sizes[id(node)]


def _find_places(node: yaml.Node, path: Place, places: dict[Place, str]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                places[(*path, key.value)] = _place(key)
                _find_places(value, (*path, key.value), places)
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            places[(*path, at)] = _place(value)
            _find_places(value, (*path, at), places)


def _place(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}"
