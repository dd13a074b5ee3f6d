"""Process: a sandbox in a process of its own, for `--sandbox` and for tests that kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rowmill.sandbox.settings import Settings

START_S = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that runs. Its books and settings are reached over HTTP."""

    base_url: str
    pid: int

    def books(self, *, detail: bool = False) -> dict[str, Any]:
        return self._call("/sandbox/books?detail=1" if detail else "/sandbox/books")

    def reset(self) -> None:
        self._call("/sandbox/books/reset", {})

    def change(self, **settings: object) -> None:
        """Change settings while it runs. Raises urllib.error.HTTPError for an unknown one."""
        self._call("/sandbox/settings", settings)

    def _call(self, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base_url + path, data=content)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=START_S) as response:
            told: dict[str, Any] = json.load(response)
            return told


@contextmanager
def spawn(settings: Settings | None = None, *, journal: Path | None = None, port: int = 0) -> Iterator[Running]:
    """Start a sandbox; it ends with the block, and also when this process dies, since its stdin then closes."""
    command = [sys.executable, "-m", "rowmill.sandbox", "--port", str(port), "--json", "--until-stdin-closes"]
    # Over stdin: a map of right labels may be longer than an argument can be.
    command += ["--settings", "-"]
    if journal is not None:
        command += ["--journal", str(journal)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("ROWMILL_API_KEY", None)
    # A session of its own: a Ctrl-C at the terminal lets the run drain before its sandbox goes.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(settings or Settings()) + b"\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            yield Running(told["base_url"], told["pid"])
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
