"""Named columns: which of a row's columns a prompt's template names."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cache

import jinja2
from jinja2 import meta, nodes
from jinja2.parser import Parser

from rowmill.tasks.plan.template_bounds import BoundedEnvironment

ROW = "row"


def names_column(source: str, column: str) -> bool:
    """Whether a template names a column, by itself or as a field of `row`. False for what is no template."""
    try:
        tree = _tree(source)
    except jinja2.TemplateError:
        return False
    return column in meta.find_undeclared_variables(tree) or any(
        _field_of_row(node) == column for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Call))
    )


def columns_named(source: str) -> tuple[str, ...] | None:
    """The columns that a template names, in its order; None where it may show any (`row` as a whole)."""
    try:
        tree = _tree(source)
    except jinja2.TemplateError:
        return ()
    named = dict.fromkeys(_named(tree, meta.find_undeclared_variables(tree)))
    return None if ROW in named else tuple(named)


@dataclass(frozen=True, slots=True)
class FieldsOfRow:
    """The columns that a template names as fields of `row`, and whether it shows `row` as a whole too."""

    fields: frozenset[str]
    is_bare: bool


def fields_of_row(source: str) -> FieldsOfRow:
    """How a template makes use of `row`. Raises jinja2.TemplateError for what is no template."""
    tree = _tree(source)
    if ROW not in meta.find_undeclared_variables(tree):
        return FieldsOfRow(frozenset(), is_bare=False)
    named = [
        node for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Call)) if _field_of_row(node) is not None
    ]
    owners = {id(node.node) for node in named if isinstance(node, nodes.Getattr | nodes.Getitem)}
    is_bare = any(_is_row(node) and id(node) not in owners for node in tree.find_all(nodes.Name))
    return FieldsOfRow(frozenset(str(_field_of_row(node)) for node in named), is_bare)


def _named(node: nodes.Node, free: Container[str]) -> Iterator[str]:
    if (name := _field_of_row(node)) is not None:
        yield name
        inner: list[nodes.Node] = list(node.args[1:]) if isinstance(node, nodes.Call) else []
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr) and _is_row(node.node.node):
        # A method of the row, such as `row.items()`.
        yield ROW
        return
    elif isinstance(node, nodes.Name):
        if node.name in free and node.ctx == "load":
            yield node.name
        return
    else:
        inner = list(node.iter_child_nodes())
    for one in inner:
        yield from _named(one, free)


def _field_of_row(node: nodes.Node) -> str | None:
    """The column that `row.name`, `row["name"]` or `row.get("name")` names."""
    if isinstance(node, nodes.Call):
        called, told = node.node, node.args[:1]
        is_get = isinstance(called, nodes.Getattr) and called.attr == "get" and _is_row(called.node)
        return told[0].value if is_get and told and isinstance(told[0], nodes.Const) else None
    if isinstance(node, nodes.Getattr):
        return node.attr if _is_row(node.node) else None
    if isinstance(node, nodes.Getitem) and _is_row(node.node) and isinstance(node.arg, nodes.Const):
        return str(node.arg.value)
    return None


@cache
def _environment() -> BoundedEnvironment:
    return BoundedEnvironment()


def _tree(source: str) -> nodes.Template:
    """The tree of a template, as it is written. Raises jinja2.TemplateError.

    It bears the environment of prompts: looking for free names compiles a template, and another one would work out what
    stands there in constants, such as 'a' * 10**9.
    """
    return Parser(_environment(), source).parse()


def _is_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == ROW
