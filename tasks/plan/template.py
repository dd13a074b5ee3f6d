"""Template: the job's prompt over a row's columns, by Jinja2 in its sandbox, bounded in what it may make and take.

Each column is a variable of its own name, and `row` holds them all, for names that are no identifiers:
`{{ row["US Gross"] }}`. Null is empty text, and `| default("...")` stands in for it. A field is never shadowed by a
method: `{{ order.items }}` is the row's own `items`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError

from rowmill.schemas.errors import JobError
from rowmill.tasks.plan.named_columns import ROW, fields_of_row
from rowmill.tasks.plan.template_bounds import BoundedContext, BoundedEnvironment
from rowmill.tasks.plan.template_budget import Budget, TemplateError
from rowmill.tasks.plan.template_tree import SELF

__all__ = ["Template", "TemplateError"]

PROMPT_MOST_CHARS = 16 * 2**20
PIECES_MOST = 2_000_000
# Up to so many characters a prompt of texts alone is far within every bound.
FILLED_MOST_CHARS = 1 << 20


class Columns(dict[str, Any]):
    """A row's columns under the one name `row`."""


class Template:
    """One compiled prompt. Raises JobError where it is no valid template."""

    def __init__(self, source: str, where: str) -> None:
        try:
            environment = BoundedEnvironment()
            self._globals = dict(environment.globals)
            self._compiled = environment.compiled(source)
            tree = environment.parse(source)
            self.ends, self._blanks = _ends(tree), _blanks(tree)
            self._of_row = fields_of_row(source)
        except jinja2.TemplateSyntaxError as error:
            raise JobError(
                f"not a valid template, line {error.lineno}: {error.message}",
                where=where,
                hint="columns stand in double braces, as in {{ body }}",
            ) from None
        except ValueError as error:
            raise JobError(f"not a usable template: {error}", where=where, hint="make it simpler") from None

    def render(self, columns: Mapping[str, Any]) -> str:
        """The prompt of one row. Raises TemplateError: unknown column, failing operation, too much text or work."""
        if self._blanks is not None and (filled := _filled(self._blanks, columns)) is not None:
            return filled
        pieces: list[str] = []
        size = 0
        try:
            # What Template.generate does, without walking the environment's globals for every row.
            names = {**self._globals, ROW: Columns(columns), **columns}
            if ROW in columns or "self" in columns:
                names |= self._hidden(columns)
            context = self._compiled.new_context(names, shared=True)
            assert isinstance(context, BoundedContext)
            context.budget = Budget()
            for piece in self._compiled.root_render_func(context):
                size += len(piece)
                if size > PROMPT_MOST_CHARS:
                    raise TemplateError(f"the prompt is longer than {PROMPT_MOST_CHARS:,} characters")
                pieces.append(piece)
                if len(pieces) > PIECES_MOST:
                    raise TemplateError(f"the prompt has more than {PIECES_MOST:,} pieces")
        except jinja2.UndefinedError as error:
            raise TemplateError(_undefined(str(error), columns)) from None
        except SecurityError as error:
            raise TemplateError(f"the template may not do this: {error}") from None
        except TemplateError:
            raise
        except (RecursionError, MemoryError):
            raise TemplateError("the template asks for too much") from None
        except (
            jinja2.TemplateError, ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
            ValueError,
        ) as error:  # fmt: skip
            raise TemplateError(f"the template fails on this row: {error}") from None
        return "".join(pieces)

    def _hidden(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """What is meant by `self`, and by `row` where a column has that name: the column, unless the template names
        others by it.
        """
        found = {SELF: columns["self"]} if "self" in columns else {}
        of_row = self._of_row
        if isinstance(columns.get(ROW, {}), dict) or not any(name in columns for name in of_row.fields):
            return found
        if of_row.is_bare:
            raise TemplateError('`row` is a column and the whole row here: write {{ row["row"] }} for the column')
        return found | {ROW: Columns(columns)}


def _blanks(tree: nodes.Template) -> list[tuple[str, str]] | None:
    """The pieces of a template of text and names of columns alone, each its text or its name; None for any other."""
    found: list[tuple[str, str]] = []
    for output in tree.body:
        for node in output.nodes if isinstance(output, nodes.Output) else (None,):
            if isinstance(node, nodes.TemplateData):
                found.append((node.data, ""))
            elif isinstance(node, nodes.Name):
                found.append(("", node.name))
            else:
                return None
    return found


def _filled(blanks: list[tuple[str, str]], columns: Mapping[str, Any]) -> str | None:
    """What Jinja2 makes of such a template where each column named is a text, in a sixth of its time; else None."""
    pieces = [columns.get(name) if name else text for text, name in blanks]
    for piece in pieces:
        if type(piece) is not str:
            return None
    prompt = "".join(pieces)  # type: ignore[arg-type]
    return prompt if len(prompt) <= FILLED_MOST_CHARS else None


def _in_null(what: str, columns: Mapping[str, Any]) -> str:
    """Something was looked for in a null; which one is known where the row has one alone."""
    nulls = [name for name, value in columns.items() if value is None]
    owner = f"the column {nulls[0]!r} is null" if len(nulls) == 1 else "a null was met"
    return f"{owner}, and a null has no {what}: guard it, as in {{% if {nulls[0] if len(nulls) == 1 else 'it'} %}}"


def _ends(tree: nodes.Template) -> tuple[str, str]:
    """The text that begins every prompt of a template, and the text that ends it; nothing where all of it is text."""
    first, last = (tree.body[0], tree.body[-1]) if tree.body else (None, None)
    found = []
    for node, place in ((first, 0), (last, -1)):
        inner = node.nodes[place] if isinstance(node, nodes.Output) else None
        found.append(inner.data if isinstance(inner, nodes.TemplateData) else "")
    is_text = first is last and isinstance(first, nodes.Output) and len(first.nodes) == 1
    return ("", "") if is_text else (found[0], found[1])


_NO_ATTRIBUTE = re.compile(r"'(?P<owner>.*?)(?: object)?' has no attribute '(?P<name>.*)'", re.DOTALL)
_NO_ELEMENT = re.compile(r"(?P<owner>.*?)(?: object)? has no element (?P<name>.*)", re.DOTALL)
_KINDS = {"str": "a text", "list": "a list", "int": "a number", "float": "a number", "bool": "true or false"}


def _undefined(message: str, columns: Mapping[str, Any]) -> str:
    """What Jinja2 says of an unknown name, in the words of a row."""
    found = _NO_ATTRIBUTE.fullmatch(message)
    if (inside := found or _NO_ELEMENT.fullmatch(message)) is not None:
        what = f"field {inside['name']!r}" if found is not None else f"element {inside['name']}"
        if inside["owner"] == "None":
            return _in_null(what, columns)
        if inside["owner"] == "dict":
            return f"there is no {what}"
        if inside["owner"] in _KINDS:
            return f"{_KINDS[inside['owner']]} has no {what}"
        if found is None or not found["owner"].endswith(Columns.__name__):
            return message
    name = found["name"] if found is not None else message.split("'")[1] if message.count("'") >= 2 else ""
    name = "self" if name == SELF else name
    near = difflib.get_close_matches(name, list(columns), 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; the row has {', '.join(sorted(columns)[:20])}"
    return f"the column {name!r} is unknown{hint}" if name else message
