"""What tests share: real files, a real sandbox process, the real command."""

from __future__ import annotations

import functools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import polars as pl
import pytest
import yaml

from rowmill.sandbox.process import Running
from rowmill.sandbox.settings import Settings
from tests.forks import READ_EARLY, Forks

# Timings here are noisy: a slow example is no failure.
hypothesis.settings.register_profile("rowmill", deadline=None)
hypothesis.settings.load_profile("rowmill")

KEY = "sk-tests-0123456789abcdef"
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "n": {"type": "integer"}},
    "required": ["name", "n"],
    "additionalProperties": False,
}


# Where it is measured what tests cover, each command is traced from its start.
TRACED = any(name.startswith("COVERAGE") for name in os.environ)


@functools.cache
def forks() -> Forks:
    """Those of this process."""
    return Forks()


@dataclass(frozen=True)
class Ended:
    """A command that ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads(self.out)


@dataclass(frozen=True)
class Bench:
    """A folder with a job, and the command to run it."""

    folder: Path
    # The page after each run takes a second; only tests of the page want it.
    reports: bool = False

    def rows(self, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> None:
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def job(self, file: str = "job.yaml", **keys: Any) -> Path:
        told = {"model": "gemini-3-pro", "input": "rows.jsonl", "output": "out", "prompt": "Say {{ text }}"}
        path = self.folder / file
        path.write_text(yaml.safe_dump({**told, **keys}, sort_keys=False))
        return path

    def arguments(self, *args: str) -> list[str]:
        more = ["--no-report"] if args[:1] in (("run",), ("label",)) and not self.reports else []
        return [*args, *more]

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "rowmill", *self.arguments(*args)]

    def environment(self, base_url: str, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ROWMILL_", "PREFECT_"))}
        root = str(Path(__file__).resolve().parent.parent / "src")
        return {**kept, "ROWMILL_API_KEY": KEY, "ROWMILL_BASE_URL": base_url, "PYTHONPATH": root, **more}

    def run(self, base_url: str, *args: str, timeout: float = 120, **more: str) -> Ended:
        """Run the command to its end. Only Prefect's runs, and those told what Python itself reads, import it again."""
        prefect = args[:1] in (("run",), ("label",)) and "--direct" not in args
        if not (prefect or TRACED or any(name.startswith(READ_EARLY) for name in more)):
            environment = self.environment(base_url, **more)
            return Ended(
                *forks().run(self.arguments(*args), folder=self.folder, environment=environment, timeout=timeout)
            )
        done = subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env=self.environment(base_url, **more),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, base_url: str, *args: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*args),
            cwd=self.folder,
            env=self.environment(base_url, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def results(self, out: str = "out") -> pl.DataFrame:
        return pl.read_parquet(self.folder / out / "results" / "*.parquet")

    def manifest(self, out: str = "out") -> dict[str, Any]:
        return json.loads((self.folder / out / "run.json").read_text())


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """What a command in this process was told to keep quiet is heard again in the next test."""
    yield
    logging.getLogger("rowmill").setLevel(logging.NOTSET)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def sandboxes() -> Iterator[Callable[..., Running]]:
    """Start sandboxes that end with the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(forked_sandbox(Settings(**settings)))


@contextmanager
def forked_sandbox(settings: Settings) -> Iterator[Running]:
    """What `spawn` starts, without importing it again."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROWMILL_")}
    args = ("sandbox", "--port", "0", "--json", "--until-stdin-closes", "--settings", "-")
    with forks().start(args, folder=Path.cwd(), environment=environment) as process:
        process.stdin.write(msgspec.json.encode(settings) + b"\n")
        told = json.loads(process.stdout.readline())
        yield Running(told["base_url"], told["pid"])
        process.stdin.close()
        process.wait()


@pytest.fixture
def s3() -> Iterator[Any]:
    """A client of a bucket of the test's own, on a server that speaks S3."""
    # A second that only tests of buckets pay for.
    from tests.buckets import s3_bucket

    with s3_bucket() as client:
        yield client


def money(value: Any) -> Decimal:
    return Decimal(str(value))


def assert_balanced(manifest: dict[str, Any], results: pl.DataFrame) -> None:
    """The ledger balances, and the cost total equals the sum of the rows."""
    told = manifest["ledger"]
    parts = ("ok", "invalid", "refused", "failed", "unreadable", "not_attempted")
    assert told["rows"] == sum(told[name] for name in parts)
    assert results.height == told["rows"] - told["not_attempted"]
    counts = dict(results["status"].value_counts().iter_rows())
    assert {name: told[name] for name in parts[:-1]} == {name: counts.get(name, 0) for name in parts[:-1]}
    assert money(manifest["totals"]["cost_usd"]) == money(results["cost_usd"].sum())
    assert money(manifest["totals"]["cost_credits"]) == money(results["cost_credits"].sum())
    assert manifest["totals"]["input_tokens"] == results["input_tokens"].sum()
    assert manifest["totals"]["output_tokens"] == results["output_tokens"].sum()
    assert manifest["totals"]["thought_tokens"] == results["thought_tokens"].sum()
    assert results["row_index"].to_list() == sorted(set(results["row_index"].to_list()))
