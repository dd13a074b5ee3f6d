"""Template bounds: the sandbox in which prompts are made, and what a prompt may make and take, reckoned beforehand.

Each operator, filter and method says how many bytes it makes before it makes them, and each turn of a loop pays for the
nodes in its body. A template that would pass either budget is refused in the time and memory of the budget, whatever
sums it writes down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from types import BuiltinMethodType, MethodType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.filters import do_join, make_attrgetter
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import pass_context

from rowmill.tasks.plan.filter_costs import FREE_FILTERS, LAZY_FILTERS, OF_TEXT, filter_cost
from rowmill.tasks.plan.method_costs import method_cost
from rowmill.tasks.plan.template_budget import (
    BINARY,
    VALUE_BYTES,
    Budget,
    TemplateError,
    reading_steps,
    shallow,
    weight,
)
from rowmill.tasks.plan.template_costs import Arguments, format_cost, operator_cost, percent_cost
from rowmill.tasks.plan.template_tree import TreeBounds
from rowmill.tasks.plan.value_text import as_text

LOOPS_MOST = 100_000
# Parts of a template that are code, not text.
TOKENS_MOST = 50_000
CALL_STEPS = 10
BLOCK_STEPS = 40


class BoundedContext(Context):
    """A rendering's variables, and what it may still spend."""

    budget: Budget

    def derived(self, locals: dict[str, Any] | None = None) -> BoundedContext:
        made = super().derived(locals)
        assert isinstance(made, BoundedContext)
        made.budget = self.budget
        return made


class BoundedFormat:
    """`text.format` as a template reaches it: called by the environment alone, which knows the budget."""

    def __init__(self, text: str, *, is_map: bool) -> None:
        self.text, self.is_map = text, is_map


class _Formatter(SandboxedFormatter):
    def __init__(self, environment: BoundedEnvironment, budget: Budget) -> None:
        super().__init__(environment)
        self._budget = budget

    def format_field(self, value: Any, format_spec: str) -> Any:
        value = "" if value is None else as_text(value, self._budget)
        self._budget.make(format_cost(value, format_spec, self._budget))
        return super().format_field(value, format_spec)

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion == "s":
            value = as_text(value, self._budget)
        if conversion is not None:
            self._budget.make(10 * weight(value, self._budget, text=True))
        return super().convert_field(value, conversion)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox without what could reach the machine, differ from time to time, or run without end."""

    context_class = BoundedContext
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=False, finalize=_printed
        )
        # These make objects or text without bound from a few characters.
        for name in ("lipsum", "cycler", "joiner", "namespace"):
            self.globals.pop(name, None)
        self.globals["range"] = _bounded_range
        self.filters["join"] = _joined
        # The same row gives the same prompt.
        del self.filters["random"]
        self.filters = {name: _bounded_filter(name, function) for name, function in self.filters.items()}
        self.tests = {name: _bounded_test(function) for name, function in self.tests.items()}
        self.filters |= {"_step": _step, "_concat": _concat, "_compared": _compared, "_sliced": _sliced}
        self.filters["_method"] = _method
        self.policies["json.dumps_kwargs"] = {"sort_keys": True, "default": str}

    def compiled(self, source: str) -> jinja2.Template:
        """A template. Raises TemplateSyntaxError, and TemplateError for one that is too large or too deep."""
        try:
            code = (kind for _, kind, _ in self.lex(source) if kind != "data")
            if next(islice(code, TOKENS_MOST, None), None) is not None:
                raise TemplateError(f"more than {TOKENS_MOST:,} words of code")
            return self.from_string(source)
        except (RecursionError, MemoryError, SyntaxError, OverflowError):
            raise TemplateError("nested too deeply") from None

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = TreeBounds().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A field of an object; a row's own field before any method of the same name."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """What stands under a key or in a place; never a method."""
        if isinstance(argument, str) and isinstance(obj, dict):
            return obj[argument] if argument in obj else self.undefined(obj=obj, name=argument)
        return super().getitem(obj, argument)

    def wrap_str_format(self, value: Any) -> Any:
        if (
            isinstance(value, (MethodType, BuiltinMethodType))
            and isinstance(value.__self__, str)
            and value.__name__ in ("format", "format_map")
        ):
            return BoundedFormat(value.__self__, is_map=value.__name__ == "format_map")
        return None

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = _budget(context)
        budget.step(CALL_STEPS)
        if operator == "%" and isinstance(left, str):
            right = _as_texts(right, budget, named="%(" in left)
            budget.make(percent_cost(left, right, budget))
        else:
            budget.make(operator_cost(operator, left, right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        budget = _budget(__context)
        budget.step(CALL_STEPS)
        if isinstance(__obj, BoundedFormat):
            return __self._formatted(budget, __obj, args, kwargs=kwargs)
        owner = getattr(__obj, "__self__", None)
        if isinstance(__obj, (BuiltinMethodType, MethodType)) and not isinstance(owner, LoopContext):
            named = {name: value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars")}
            budget.make(method_cost(owner, __obj.__name__, Arguments(args, named), budget=budget))
        elif isinstance(__obj, (Macro, LoopContext, BlockReference)):
            budget.step(BLOCK_STEPS)
        elif __obj is dict:
            budget.make(weight((args, kwargs), budget))
        elif __obj is not _bounded_range and not isinstance(__obj, (Undefined, MethodType)):
            raise TypeError(f"{type(__obj).__name__} cannot be called")
        return super().call(__context, __obj, *args, **kwargs)

    def _formatted(self, budget: Budget, form: BoundedFormat, args: Any, *, kwargs: dict[str, Any]) -> str:
        named = {name: value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars")}
        if form.is_map:
            args, named = (), args[0]
        budget.make(shallow(form.text))
        return _Formatter(self, budget).vformat(form.text, args, named)


def _budget(context: Context) -> Budget:
    assert isinstance(context, BoundedContext)
    return context.budget


def _bounded_range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > LOOPS_MOST:
        raise TemplateError(f"a range of {len(made):,} steps; at most {LOOPS_MOST:,} are allowed")
    return made


@pass_context
def _printed(context: BoundedContext, value: Any) -> str:
    """What `{{ value }}` shows: null is empty text, objects and lists are JSON, and what has no text of its own is
    refused.

    Raises TemplateError for binary values, methods, and sequences that are not made yet.
    """
    budget = context.budget
    budget.step(1)
    escaped = 6 if context.eval_ctx.autoescape else 1
    if isinstance(value, str):
        budget.make(escaped * shallow(value))
        return value
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        budget.make(VALUE_BYTES)
        return str(value)
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, BINARY):
        raise TemplateError("a binary value is no text: name its column under `attachments`, or decode it")
    if isinstance(value, Iterator):
        raise TemplateError("a sequence that is still to be made cannot be shown: add `| list` or `| join`")
    if callable(value) or isinstance(value, BoundedFormat):
        name = getattr(value, "__name__", type(value).__name__)
        raise TemplateError(f"{name!r} is a method and no field of this row: call it with (), or name a field it has")
    if (text := as_text(value, budget)) is not value:
        budget.make(escaped * shallow(text))
        return str(text)
    budget.make(4 * escaped * weight(value, budget, text=True))
    return str(value)


@pass_context
def _concat(context: BoundedContext, parts: list[Any]) -> str:
    """`a ~ b`: the texts of both, by the rules of `{{ }}`."""
    return "".join(_printed(context, part) for part in parts)


@pass_context
def _step(context: BoundedContext, steps: int, text: int) -> None:
    """One turn of a loop, or one call of a macro or block: so many nodes, and so many bytes of its own text."""
    context.budget.step(steps)
    context.budget.make(text)


@pass_context
def _compared(context: BoundedContext, value: Any) -> Any:
    """A side of a comparison or search, which takes longer the larger it is."""
    context.budget.step(reading_steps(value))
    return value


@pass_context
def _sliced(context: BoundedContext, value: Any) -> Any:
    """What a slice is taken of, which may be copied whole."""
    context.budget.make(shallow(value))
    return value


@pass_context
def _method(context: BoundedContext, obj: Any, name: str) -> Any:
    """A method of a mapping where it is called, whether or not the mapping has a field of that name."""
    if isinstance(obj, dict):
        return getattr(obj, name)
    return context.environment.getattr(obj, name)


def _as_texts(value: Any, budget: Budget, *, named: bool = True) -> Any:
    """What fills in a text's blanks, `named` from a mapping: nulls, objects and lists by the rules of `{{ }}`."""
    if isinstance(value, tuple):
        return tuple(_as_texts(one, budget, named=False) for one in value)
    if named and isinstance(value, dict):
        return {name: _as_texts(one, budget, named=False) for name, one in value.items()}
    return "" if value is None else as_text(value, budget)


@pass_context
def _joined(context: BoundedContext, value: Any, d: str = "", attribute: str | int | None = None) -> Any:
    """Jinja2's `join`, of texts by the rules of `{{ }}`."""
    found = value if attribute is None else map(make_attrgetter(context.environment, attribute), value)
    return do_join(context.eval_ctx, ["" if one is None else as_text(one, context.budget) for one in found], d)


def _bounded_filter(name: str, function: Any) -> Any:
    """The filter, paid for before it runs; what it makes in steps is paid for step by step."""
    passed = _passed(function)

    @pass_context
    def bounded(context: BoundedContext, value: Any = None, *args: Any, **kwargs: Any) -> Any:
        budget = context.budget
        budget.step(CALL_STEPS)
        if name in OF_TEXT:
            value = "" if value is None else as_text(value, budget) if name != "urlencode" else value
        elif name == "format":
            args, kwargs = _as_texts(args, budget), _as_texts(kwargs, budget)
        if name in ("default", "d") and value is None:
            value = context.environment.undefined(name="a null")
        if isinstance(value, Iterator) and name not in LAZY_FILTERS:
            value = list(_counted(budget, value))
        if name not in FREE_FILTERS and not isinstance(value, Undefined):
            value = filter_cost(context, name, value, given=Arguments(args, kwargs), budget=budget)
        made = function(*passed(context), value, *args, **kwargs)
        return _counted(budget, made) if isinstance(made, Iterator) else made

    return bounded


def _bounded_test(function: Any) -> Any:
    """The test, paid for by what it compares or searches."""
    passed = _passed(function)

    @pass_context
    def bounded(context: BoundedContext, value: Any, *args: Any) -> Any:
        context.budget.step(CALL_STEPS + reading_steps(value) + sum(map(reading_steps, args)))
        return function(*passed(context), value, *args)

    return bounded


def _passed(function: Any) -> Callable[[BoundedContext], tuple[Any, ...]]:
    """What Jinja2 passes to a filter or test before its value."""
    kind = getattr(function, "jinja_pass_arg", None)
    ways: dict[str | None, Callable[[BoundedContext], tuple[Any, ...]]] = {
        "context": lambda context: (context,),
        "eval_context": lambda context: (context.eval_ctx,),
        "environment": lambda context: (context.environment,),
    }
    return ways.get(kind.name if kind is not None else None, lambda context: ())


def _counted(budget: Budget, values: Iterator[Any]) -> Iterator[Any]:
    for value in values:
        budget.step(CALL_STEPS)
        budget.make(16)
        yield value
