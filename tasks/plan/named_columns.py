"""Named columns: which of a row's columns a prompt's template names."""

from __future__ import annotations

import jinja2
from jinja2 import meta, nodes

ROW = "row"


def names_column(source: str, column: str) -> bool:
    """Whether a template names a column, by itself or as a field of `row`. False for what is no template."""
    try:
        tree = jinja2.Environment(autoescape=False).parse(source)
    except jinja2.TemplateError:
        return False
    return column in meta.find_undeclared_variables(tree) or any(
        _field_of_row(node) == column for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Call))
    )


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


def _is_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == ROW
