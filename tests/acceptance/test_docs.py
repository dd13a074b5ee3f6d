"""The documentation does what it says: every file it shows is written, every command and every program in it is run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_prefect import prefect_environment, server  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = re.compile(r"<!-- not run: (?P<why>.+) -->")
EXIT = re.compile(r"#\s*exit (\d+)\s*$")
LANGUAGES = {"sh", "python"}
# A program of a page, with `await` at its top as in a notebook.
RUN_PYTHON = """
import ast, asyncio, inspect, sys
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
told = eval(code, {"__name__": "__main__"})
if inspect.iscoroutine(told):
    asyncio.run(told)
"""


def blocks(text: str) -> list[tuple[str, str, str | None]]:
    """Language and info, content, and why it is not run, of each fenced block."""
    found: list[tuple[str, str, str | None]] = []
    inside: list[str] | None = None
    info = before = ""
    for line in text.splitlines():
        if inside is not None and line == "```":
            told = NOT_RUN.search(before)
            found.append((info, "".join(inside), told["why"] if told else None))
            inside, line = None, ""
        elif inside is not None:
            inside.append(line + "\n")
            continue
        elif line.startswith("```"):
            inside, info = [], line[3:]
            continue
        before = line
    assert inside is None, "a block without an end"
    return found


def script(text: str, folder: Path) -> str:
    """One shell script of all that a page writes and runs, in its order."""
    lines = ["set -u"]
    for number, (info, body, why) in enumerate(blocks(text)):
        language, _, file = info.partition(" file=")
        if file:
            (folder / f"block{number}").write_text(body)
            lines.append(f"cp {shlex.quote(f'block{number}')} {shlex.quote(file)}")
        elif language == "sh" and why is None:
            lines += _commands(body)
        elif language == "python" and why is None:
            (folder / f"block{number}.py").write_text(body)
            lines.append(f"python run_python.py block{number}.py || {{ echo block {number} failed >&2; exit 99; }}")
    return "\n".join(lines)


def _commands(body: str) -> list[str]:
    made = []
    for line in body.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        told = EXIT.search(line)
        wanted = told[1] if told else "0"
        made += [line, f"code=$?; [ $code = {wanted} ] || {{ echo {shlex.quote(line)}: exit $code >&2; exit 99; }}"]
    return made


def test_every_page_is_known() -> None:
    """Each fenced block is a file, is run, shows output, or says why it is not run."""
    for page in DOCS:
        for info, _, why in blocks(page.read_text()):
            language = info.split(" ")[0]
            assert language in {*LANGUAGES, "", "yaml", "json", "csv", "toml"}, (page, info)
            assert why is None or len(why) > 10


@pytest.mark.parametrize("page", [page for page in DOCS if any(info in LANGUAGES for info, _, _ in blocks(page.read_text()))],
                         ids=lambda page: page.name)  # fmt: skip
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, sandboxes: Any, server: dict[str, str]) -> None:  # noqa: F811
    """Its files, commands and programs work one after the other in an empty folder beside the sample data."""
    for name in ("sample_data", "prefect.yaml", "flows"):
        (tmp_path / name).symlink_to(ROOT / name)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, words in (("rowmill", "-m flows.cli"), ("python", ""), ("prefect", "-m prefect")):
        (bin_folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (bin_folder / name).chmod(0o755)
    (tmp_path / "run_python.py").write_text(RUN_PYTHON)
    told = prefect_environment(
        tmp_path / "home",
        ROWMILL_BASE_URL=sandboxes().base_url,
        ROWMILL_API_KEY="sk-docs",
        PREFECT_API_URL=server["PREFECT_API_URL"],
        PATH=f"{bin_folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    )
    done = subprocess.run(
        ["bash", "-c", script(page.read_text(), tmp_path)],
        cwd=tmp_path, env=told, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "Traceback" not in done.stderr


def test_the_reference_is_what_the_code_says() -> None:
    """docs/reference.md is made from the job model, the command line and the results; `make docs` writes it anew."""
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (ROOT / "docs" / "reference.md").read_text() == made.reference()


def test_the_pages_point_to_what_is_there() -> None:
    """Each link to a file in the repository leads to one."""
    for page in [*DOCS, ROOT / "CONTRIBUTING.md", ROOT / "sample_data" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), (page, target)


def test_the_jobs_of_the_readme_are_jobs() -> None:
    """Each YAML block of the README that is a whole job is one that the model takes."""
    import yaml

    from rowmill.schemas.job import Job

    for info, body, _ in blocks((ROOT / "README.md").read_text()):
        told = yaml.safe_load(body) if info == "yaml" else None
        if isinstance(told, dict) and "model" in told:
            Job.model_validate(told)
            json.dumps(told, default=str)
