"""Template: the job's prompt over a row's columns, by Jinja2 in its sandbox, bounded in what it may make."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rowmill.schemas.errors import JobError

PROMPT_MOST_CHARS = 16 * 2**20
LOOPS_MOST = 100_000


class TemplateError(ValueError):
    """A prompt that cannot be made for this row; the message says why."""


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox without what could reach the machine or run without end."""

    def __init__(self) -> None:
        super().__init__(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=False)
        # These make objects or text without bound from a few characters.
        for name in ("lipsum", "cycler", "joiner", "namespace"):
            self.globals.pop(name, None)
        self.globals["range"] = _bounded_range


def _bounded_range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > LOOPS_MOST:
        raise TemplateError(f"a range of {len(made):,} steps; at most {LOOPS_MOST:,} are allowed")
    return made


class Template:
    """One compiled prompt. Raises JobError where it is no valid template."""

    def __init__(self, source: str, where: str) -> None:
        self._where = where
        try:
            environment = _Environment()
            self._globals = dict(environment.globals)
            self._compiled = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise JobError(
                f"not a valid template, line {error.lineno}: {error.message}",
                where=where,
                hint="columns stand in double braces, as in {{ body }}",
            ) from None

    def render(self, columns: Mapping[str, Any]) -> str:
        """The prompt of one row. Raises TemplateError: unknown column, failing operation, endless text."""
        made: list[str] = []
        size = 0
        try:
            # What Template.generate does, without walking the environment's globals for every row.
            context = self._compiled.new_context({**self._globals, **columns}, shared=True)
            for piece in self._compiled.root_render_func(context):
                size += len(piece)
                if size > PROMPT_MOST_CHARS:
                    raise TemplateError(f"the prompt is longer than {PROMPT_MOST_CHARS:,} characters")
                made.append(piece)
        except jinja2.UndefinedError as error:
            raise TemplateError(_undefined(str(error), columns)) from None
        except SecurityError as error:
            raise TemplateError(f"the template may not do this: {error}") from None
        except TemplateError:
            raise
        except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise TemplateError(f"the template fails on this row: {error}") from None
        except (RecursionError, MemoryError):
            raise TemplateError("the template asks for too much") from None
        return "".join(made)


def _undefined(message: str, columns: Iterable[str]) -> str:
    name = message.split("'")[1] if message.count("'") >= 2 else ""
    near = difflib.get_close_matches(name, list(columns), 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; the row has {', '.join(sorted(columns)[:20])}"
    return f"the column {name!r} is unknown{hint}" if name else message
