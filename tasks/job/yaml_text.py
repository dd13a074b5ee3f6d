"""YAML text → plain values, by the scalars of YAML 1.2, with the place of each key.

`yes`, `no`, `on`, `off`, `12:30` and dates are text, as YAML 1.2 has it (its core schema, chapter 10.3); keys are
always text, as they are written. Merge keys (`<<`) and `1_000` are read as YAML 1.1 reads them, as job files have them.
Text are also `007`, which is 7 in one version and octal in the other, and `.inf` and `.nan`, which JSON does not know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isinf
from typing import Any

import yaml

from rowmill.tasks.job.yaml_nodes import CheckedNodes, Place, YamlTextError, error_at
from rowmill.tasks.job.yaml_scalars import CORE, MERGE, SCALARS, SEPARATORS

NESTING_MOST = 200
# More digits than any number of a job has; Python itself ends at 4,300.
DIGITS_MOST = 1_000


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
    stand_ins = _stand_ins(text)
    try:
        node = yaml.compose(text.translate(stand_ins), _Loader)
        if node is None:
            return YamlText(None, None)
        CheckedNodes({ord(one): chr(sign) for sign, one in stand_ins.items()}).of_root(node)
        return YamlText(_Loader("").construct_document(node), node)
    except yaml.MarkedYAMLError as error:
        raise _told(error) from None
    except yaml.reader.ReaderError as error:
        message = f"the character U+{error.character:04X} cannot stand in it"
        raise YamlTextError(
            message, *_position(text, error.position), hint="leave it out, or save it as UTF-8"
        ) from None
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
            if isinstance(key, yaml.ScalarNode):
                name = f"{key.value} (merge)" if key.tag == MERGE else key.value
                if name in seen:
                    hint = "write <<: [*one, *other]" if key.tag == MERGE else "correct it there"
                    raise error_at(f"the key {key.value!r} stands twice", key, hint=hint)
                seen.add(name)
        # Keys that a merge brings come first, and give way to the mapping's own.
        self.flatten_mapping(node)
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise error_at(
                    "a key must be a text", key, hint="text that begins with a brace or a bracket needs quotes"
                )
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "")
    if len(text) > DIGITS_MOST:
        raise error_at(f"a number of {len(text):,} characters is beyond the limit of {DIGITS_MOST:,}", node)
    return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    found = float(node.value.replace("_", ""))
    if isinf(found):
        raise error_at(f"the number {node.value} is beyond what a double holds", node)
    return found


def _construct_bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return bool(node.value.lower() == "true")


for _tag, (_pattern, _first) in SCALARS.items():
    _Loader.add_implicit_resolver(_tag, _pattern, [*_first])
_Loader.yaml_implicit_resolvers[""] = [(f"{CORE}null", re.compile(r"^\Z"))]
_Loader.add_constructor(f"{CORE}int", _construct_int)
_Loader.add_constructor(f"{CORE}float", _construct_float)
_Loader.add_constructor(f"{CORE}bool", _construct_bool)


def _told(error: yaml.MarkedYAMLError) -> YamlTextError:
    """What PyYAML says of a text, with what to do."""
    mark = error.problem_mark or error.context_mark
    message = error.problem or error.context or "unreadable"
    if error.context and message.startswith(("but ", "second ")):
        message = f"{error.context}, {message}"
    hint = "text with a colon, a brace or a hash in it needs quotes"
    if "\\t" in message:
        hint = "write spaces in place of tabs"
    elif any(word in message for word in ("alias", "anchor", "document", "merging")):
        hint = "correct it there"
    return YamlTextError(message, *((mark.line + 1, mark.column + 1) if mark else ()), hint=hint)


def _position(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _stand_ins(text: str) -> dict[int, str]:
    """Characters that a text does not have, for its separators."""
    met = [sign for sign in SEPARATORS if sign in text]
    free = (chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)
    return {ord(sign): one for sign, one in zip(met, free, strict=False)}


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
