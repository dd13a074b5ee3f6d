"""Words of any origin, through the command: what is shown of ids, names and errors moves no cursor and fakes no line."""

from __future__ import annotations

import unicodedata
from typing import Any

from tests.conftest import Bench

HOSTILE = "\x1b[2J\x1b]0;title\x07\nrowmill: complete\r\u202eevil\x9b"


def test_no_command_prints_what_a_row_or_a_job_says_as_it_is(bench: Bench, sandboxes: Any) -> None:
    """Ids, a job's name, columns and errors with escape sequences, line breaks and overrides are shown escaped."""
    sandbox = sandboxes()
    full = Bench(bench.folder, reports=True)
    rows = [{"id": f"{n}{HOSTILE}", "text": f"t{n}", HOSTILE: HOSTILE} for n in range(3)]
    bench.rows([*rows, {"id": "no text"}])
    bench.job(id="id", name=f"job {HOSTILE}", keep=[HOSTILE], prompt="Say {{ text }}")
    commands = [
        ("check", "job.yaml"), ("estimate", "job.yaml"), ("run", "job.yaml", "--direct"), ("status", "out", "--verify"),
        ("report", "out"), ("compare", "out", "out"), ("check", f"no{HOSTILE}.yaml"), ("status", f"no{HOSTILE}"),
        ("run", "job.yaml", "--direct", "-m", HOSTILE), ("run", "job.yaml", "--direct", "-i", f"no{HOSTILE}.jsonl"),
    ]  # fmt: skip
    for command in commands:
        ended = full.run(sandbox.base_url, *command)
        assert command != ("run", "job.yaml", "--direct") or ended.code == 3, ended.err
        assert "Traceback" not in ended.err, (command, ended.err)
        assert hidden(ended.out + ended.err) == "", command
    page = (bench.folder / "out" / "report.html").read_text()
    assert hidden(page) == ""
    assert "\\u001b[2J" in page


def hidden(text: str) -> str:
    """The characters that are not seen, other than line ends."""
    return "".join(sorted({char for char in text if char != "\n" and unicodedata.category(char) in ("Cc", "Cf")}))
