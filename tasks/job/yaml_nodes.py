"""YAML nodes: what stands in a document before it is made into values, each with its line."""

from __future__ import annotations

import yaml

from rowmill.tasks.job.yaml_scalars import CORE, MERGE, SCALARS, TEXT

# The steps from a file's top to one of its keys.
Place = tuple[int | str, ...]
# How many nodes aliases may stand for, beyond those that are written down.
ALIASED_MOST = 100_000
SEQUENCE, MAPPING = f"{CORE}seq", f"{CORE}map"


class YamlTextError(ValueError):
    """The text is no YAML that can be read; `line` and `column` begin at 1, and are 0 where nothing is known."""

    def __init__(self, message: str, line: int = 0, column: int = 0, *, hint: str = "correct it there") -> None:
        super().__init__(message)
        self.line, self.column, self.hint = line, column, hint


def error_at(message: str, node: yaml.Node, *, hint: str = "correct it there") -> YamlTextError:
    return YamlTextError(message, node.start_mark.line + 1, node.start_mark.column + 1, hint=hint)


def _children(node: yaml.Node) -> list[tuple[int | str, yaml.Node]]:
    """What a node holds, each with its key or its place; keys that are no text hold something too."""
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value)[:40], part) for key, value in node.value for part in (key, value)]
    return list(enumerate(node.value)) if isinstance(node, yaml.SequenceNode) else []


class CheckedNodes:
    """One walk over the nodes of a document, which puts their texts right and refuses what no job file holds."""

    def __init__(self, separators: dict[int, str]) -> None:
        """`separators` are the characters in place of which others were read."""
        self._separators = separators
        self._sizes: dict[int, int] = {}
        self._around: set[int] = set()

    def of_root(self, root: yaml.Node) -> None:
        """Raises YamlTextError for aliases that hold themselves, or that stand for more than a file should hold; for
        tags; for halves of characters.
        """
        size = self._size(root, ())
        if size - len(self._sizes) > ALIASED_MOST:
            raise YamlTextError(f"its aliases stand for {size:,} values", hint="write out what is meant")

    def _size(self, node: yaml.Node, path: Place) -> int:
        """How many nodes a node stands for, aliases written out."""
        if id(node) in self._around:
            raise error_at(f"{'.'.join(map(str, path))}: an alias stands inside of what it names", node)
        if id(node) not in self._sizes:
            self._around.add(id(node))
            _must_fit(node)
            if isinstance(node, yaml.ScalarNode):
                node.value = _whole(node.value.translate(self._separators), node)
            self._sizes[id(node)] = 1 + sum(self._size(child, (*path, key)) for key, child in _children(node))
            self._around.discard(id(node))
        return self._sizes[id(node)]


def _must_fit(node: yaml.Node) -> None:
    """Raises YamlTextError for a tag that says something else than what stands there, or that is not JSON's."""
    if isinstance(node, yaml.ScalarNode):
        patterns = [SCALARS[node.tag][0]] if node.tag in SCALARS else []
        # A whole number may be called a float.
        patterns += [SCALARS[f"{CORE}int"][0]] if node.tag == f"{CORE}float" else []
        fits = node.tag == TEXT or any(pattern.match(node.value) for pattern in patterns)
    else:
        fits = node.tag == (SEQUENCE if isinstance(node, yaml.SequenceNode) else MAPPING)
    if not fits:
        name = node.tag.replace(CORE, "!!")
        raise error_at(f"the tag {name} is none that fits this value in a job file", node, hint="leave it out")
    # `<<` is a merge as a key alone.
    parts = [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else node.value
    for part in parts if not isinstance(node, yaml.ScalarNode) else ():
        if part.tag == MERGE and isinstance(part, yaml.ScalarNode):
            part.tag = TEXT


def _whole(text: str, node: yaml.Node) -> str:
    """A text with the pairs of its escapes joined, as JSON writes characters beyond 16 bits."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise error_at("it holds half of a character, which is none", node) from None
