"""Template tree: what a prompt's template pays as it runs, written into its syntax tree before it is compiled.

The filters named here with an underscore are those of `template_bounds`.
"""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

from rowmill.tasks.plan.template_budget import TemplateError

TURN_STEPS = 4
# Under this name a template finds the column `self`.
SELF = "_self_column"
# Python nests no more loops than this.
BLOCKS_MOST = 20
# A field of a row is never shadowed by one of these; called with (), they are meant.
MAPPING_METHODS = frozenset({"items", "keys", "values", "get", "copy"})


class TreeBounds(NodeTransformer):
    """Puts the prices into a template's tree, and the filters in place of the operators that cannot be intercepted."""

    def __init__(self) -> None:
        self._depth = 0
        self._has_blocks = False

    def visit_Template(self, node: nodes.Template) -> nodes.Node:
        self._has_blocks = node.find(nodes.Block) is not None
        return self.generic_visit(node)

    def visit_Include(self, node: nodes.Stmt) -> nodes.Node:
        raise TemplateSyntaxError("it names another template, and a prompt has none beside it", node.lineno)

    visit_Import = visit_FromImport = visit_Extends = visit_Include

    def visit_Name(self, node: nodes.Name) -> nodes.Node:
        # To Jinja2 it is the template, of which only one with blocks makes use; to a prompt it is a column.
        return nodes.Name(SELF, node.ctx, lineno=node.lineno) if node.name == "self" and not self._has_blocks else node

    def visit_For(self, node: Any) -> nodes.Node:
        self._depth += 1
        if self._depth > BLOCKS_MOST:
            raise TemplateError(f"more than {BLOCKS_MOST} loops or macros in one another")
        self.generic_visit(node)
        self._depth -= 1
        inside = [inner for child in node.body for inner in (child, *child.find_all(nodes.Node))]
        text = sum(len(inner.data) for inner in inside if isinstance(inner, nodes.TemplateData))
        steps = nodes.Const(len(inside) + TURN_STEPS, lineno=node.lineno)
        step = _filter(steps, "_step", nodes.Const(text, lineno=node.lineno))
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        return node  # type: ignore[no-any-return]

    visit_Macro = visit_CallBlock = visit_Block = visit_For

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_concat")

    def visit_Operand(self, node: nodes.Operand) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filter(node.expr, "_compared")
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        self.generic_visit(node)
        called = node.node
        if isinstance(called, nodes.Getattr) and called.attr in MAPPING_METHODS:
            node.node = _filter(called.node, "_method", nodes.Const(called.attr, lineno=called.lineno))
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filter(node.node, "_sliced")
        return node


def _filter(node: nodes.Expr, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)
