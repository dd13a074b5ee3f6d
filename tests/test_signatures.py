"""The rule for parameters: what a call of ours gives beyond its third argument has its name there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = ("flows", "tasks", "schemas", "sandbox", "benchmarks")
MOST = 3
# Called by argparse, Jinja and polars, which give four things by position.
OF_OTHERS = {"SandboxSettings.__call__", "._joined", "BoundedEnvironment.call_binop", ".batches_of_polars"}


def functions(node: ast.AST, owner: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of a module with the class that it is a method of."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield owner, child
            yield from functions(child)
        else:
            yield from functions(child, child.name if isinstance(child, ast.ClassDef) else owner)


def positional(owner: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many parameters may be given by position, `self` and `cls` left out."""
    count = len(function.args.posonlyargs) + len(function.args.args)
    is_static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in function.decorator_list)
    return count - (1 if owner and not is_static else 0)


def test_no_function_takes_more_than_three_things_by_position():
    """A call of five bare values tells nobody which is which, and two of one type change places unseen."""
    files = [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
    files += sorted((ROOT / "src" / "rowmill").glob("*.py"))
    found = [
        f"{path.relative_to(ROOT)}:{function.lineno} {owner}.{function.name}"
        for path in files
        for owner, function in functions(ast.parse(path.read_text(encoding="utf-8")))
        if positional(owner, function) > MOST and f"{owner}.{function.name}" not in OF_OTHERS
    ]
    assert len(files) > 300
    assert found == []
