"""The documentation does what it says: every file it shows is written, every command and program in it is run."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

from rowmill.flows.commands.arguments import kind_or_job, parser
from rowmill.schemas.job import Job
from tests.acceptance.test_prefect import prefect_environment, server  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = re.compile(r"<!-- not run: (?P<why>.+) -->")
EXIT = re.compile(r"#\s*exit (\d+)\s*$")
# The line above a block names it: the block is then that file.
FILE = re.compile(r"`(?P<name>[\w.-]+)`:")
LANGUAGES = {"sh", "python"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its content, the file it is, and why it is not run."""

    language: str
    body: str
    file: str | None
    not_run: str | None


# A program of a page, with `await` at its top as in a notebook.
RUN_PYTHON = """
import ast, asyncio, inspect, sys
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
result = eval(code, {"__name__": "__main__"})
if inspect.iscoroutine(result):
    asyncio.run(result)
"""


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    inside: list[str] | None = None
    language = before = ""
    for line in text.splitlines():
        if inside is not None and line == "```":
            file, why = FILE.fullmatch(before), NOT_RUN.search(before)
            found.append(Block(language, "".join(inside), file and file["name"], why and why["why"]))
            inside, line = None, ""
        elif inside is not None:
            inside.append(line + "\n")
            continue
        elif line.startswith("```"):
            inside, language = [], line[3:]
            continue
        before = line
    assert inside is None, "a block without an end"
    return found


def script(text: str, folder: Path) -> str:
    """One shell script of all that a page writes and runs, in its order."""
    lines = ["set -u"]
    for number, block in enumerate(blocks(text)):
        if block.file:
            (folder / f"block{number}").write_text(block.body)
            lines.append(f"cp {shlex.quote(f'block{number}')} {shlex.quote(block.file)}")
        elif block.language == "sh" and block.not_run is None:
            lines += _commands(block.body)
        elif block.language == "python" and block.not_run is None:
            (folder / f"block{number}.py").write_text(block.body)
            lines.append(f"python run_python.py block{number}.py || {{ echo block {number} failed >&2; exit 99; }}")
    return "\n".join(lines)


def _commands(body: str) -> list[str]:
    made = []
    for line in body.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        expected = EXIT.search(line)
        wanted = expected[1] if expected else "0"
        made += [line, f"code=$?; [ $code = {wanted} ] || {{ echo {shlex.quote(line)}: exit $code >&2; exit 99; }}"]
    return made


def test_every_page_is_known() -> None:
    """Each fenced block is a file, is run, shows output, or says why it is not run."""
    for page in DOCS:
        for block in blocks(page.read_text()):
            assert block.language in {*LANGUAGES, "", "yaml", "json", "csv", "toml"}, (page, block)
            assert block.not_run is None or len(block.not_run) > 10


def is_run(page: Path) -> bool:
    return any(block.language in LANGUAGES for block in blocks(page.read_text()))


# What these pages show is slow, and is tested from the outside elsewhere: they are run by night. That their commands and
# jobs are such is tested always.
SLOW = {
    "labelling.md", "failures.md", "looking.md", "extraction.md", "evidence.md", "receipts.md", "tune.md",
    "rows-per-call.md", "before-you-pay.md",
}  # fmt: skip
ENDS_A_COMMAND = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1"}
PAGES = [
    pytest.param(page, id=page.name, marks=[pytest.mark.nightly] if page.name in SLOW else [])
    for page in DOCS
    if is_run(page)
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, sandboxes: Any, server: dict[str, str]) -> None:  # noqa: F811
    """Its files, commands and programs work one after the other in an empty folder beside the sample data."""
    for name in ("sample_data", "prefect.yaml", "flows"):
        (tmp_path / name).symlink_to(ROOT / name)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, words in (("rowmill", "-m rowmill"), ("python", ""), ("prefect", "-m prefect")):
        (bin_folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (bin_folder / name).chmod(0o755)
    (tmp_path / "run_python.py").write_text(RUN_PYTHON)
    environment = prefect_environment(
        tmp_path / "home",
        ROWMILL_BASE_URL=sandboxes().base_url,
        ROWMILL_API_KEY="sk-docs",
        PREFECT_API_URL=server["PREFECT_API_URL"],
        PATH=f"{bin_folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    )
    done = subprocess.run(
        ["bash", "-c", script(page.read_text(), tmp_path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
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


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_the_jobs_and_commands_of_a_page_are_such(page: Path) -> None:
    """Each YAML block that is a whole job is one that the model takes, each `rowmill` line one that the parser takes."""
    for block in blocks(page.read_text()):
        job = yaml.safe_load(block.body) if block.language == "yaml" else None
        if isinstance(job, dict) and {"model", "input"} <= job.keys():
            Job.model_validate(job)
        for words in _rowmill_lines(block) if block.language == "sh" else ():
            parser().parse_args(kind_or_job(words))


def _rowmill_lines(block: Block) -> Iterator[list[str]]:
    """The arguments of each call of the command."""
    for line in block.body.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        starts = [at for at, word in enumerate(words) if word == "rowmill" and _starts_a_command(words[:at])]
        for at in starts:
            yield list(takewhile(lambda word: word not in ENDS_A_COMMAND, words[at + 1 :]))


def _starts_a_command(before: list[str]) -> bool:
    """Whether the next word is a command's name: at the beginning, behind assignments, or behind a separator."""
    return not before or before[-1] in ENDS_A_COMMAND or all("=" in word for word in before)


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """Every page is in the navigation, every link and anchor leads somewhere, every block is a block, and nothing is fetched."""
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("index.html"))
    assert len(pages) == len(DOCS) - 1
    for page in pages:
        text = page.read_text()
        assert "```" not in text, page
        assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', text), page


def test_the_container_is_made_of_what_is_there() -> None:
    """Each path that the Dockerfile copies exists, all of the package is among them, and each extra it installs is one."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [path for line in lines if line.startswith("COPY ") for path in line.split()[1:-1]]
    assert all((ROOT / path).exists() for path in copied), copied
    assert {"src", "flows", "tasks", "schemas", "sandbox", "pyproject.toml", "constraints.txt"} <= set(copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (installed,) = (line for line in lines if line.startswith("RUN pip install"))
    assert "-c constraints.txt" in installed
    extras = re.search(r"\.\[([\w,]+)\]", installed)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    assert project["requires-python"] == ">=" + lines[0].removeprefix("FROM python:").split("-")[0]


def test_the_hooks_are_the_checks_of_make() -> None:
    """What runs before a commit is what `make check` runs, by the same commands."""
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck: ")[2].partition("\n\n")[0]
    made = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()[1:]]
    assert [hook["entry"] for hook in hooks] == made
    assert all(hook["language"] == "system" for hook in hooks)
