"""A process that ends when its standard input is closed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rowmill.tasks.system import until_closed


def test_a_module_ends_when_its_starter_does(tmp_path: Path) -> None:
    """The module runs under its own arguments, and is ended when the pipe to it is closed, which a kill does too."""
    (tmp_path / "waits.py").write_text(
        "import sys, threading\nprint(sys.argv[1:], flush=True)\nthreading.Event().wait()\n"
    )
    command = [sys.executable, until_closed.__file__, "waits", "one", "--two"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "['one', '--two']\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=60) != 0
