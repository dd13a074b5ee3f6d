"""The command line: what it sets for its own process, and what it says before anything is imported."""

from __future__ import annotations

import argparse
import importlib
import os
import select
import subprocess
import sys

import pytest

from rowmill.flows import cli
from rowmill.flows.cli import COMMANDS, PREFECT_DEFAULTS, main
from rowmill.flows.commands.arguments import parser
from rowmill.schemas.errors import ExitCode


@pytest.fixture
def environment(monkeypatch):
    """No variable of Prefect's is set; whatever the test sets is undone."""
    for name in [*os.environ]:
        if name.startswith("PREFECT_") or name == "DO_NOT_TRACK":
            monkeypatch.delenv(name)
    for name in PREFECT_DEFAULTS:
        # Registered with monkeypatch, so that what main() sets goes with the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_each_command_has_its_place() -> None:
    """Every command that the parser knows is found, but the sandbox, whose arguments are its own."""
    [names] = [action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert {*names} == {*COMMANDS, "sandbox"}
    for module, function in COMMANDS.values():
        assert callable(getattr(importlib.import_module(f"rowmill.flows.commands.{module}"), function))


def test_the_command_makes_prefect_quiet_for_its_own_process(environment, capsys):
    """Defaults are set before Prefect is imported, and give way to the user's own settings."""
    environment.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    assert main(["--version"]) == ExitCode.OK
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] == "90"


def test_a_workers_process_keeps_its_own_settings(environment, capsys):
    """In the process of a flow run that a worker started, nothing is set."""
    environment.setenv("PREFECT__FLOW_RUN_ID", "3c5c9c6e-0000-0000-0000-000000000000")
    main(["--version"])
    assert not [name for name in PREFECT_DEFAULTS if name in os.environ]


@pytest.mark.parametrize("args", [["run", "job.yaml"], ["--version"], []])
def test_windows_gets_one_sentence(environment, capsys, args):
    """Where there is no fcntl, as on Windows, every command names WSL in one line and exits with 2."""
    environment.setitem(sys.modules, "fcntl", None)
    assert main(args) == ExitCode.REFUSED
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "WSL" in said.err


def test_prefects_start_is_announced_before_anything_is_imported(environment, capsys, tmp_path):
    """The line is on the screen before the pipeline is imported; --direct and -q have none."""
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('polars', 'prefect', 'pyarrow', 'pydantic'):\n"
        "            raise SystemExit(7)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from rowmill.flows.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    for flags, announced in (([], True), (["--direct"], False), (["-q"], False)):
        done = subprocess.run(
            [sys.executable, "-c", program, "run", "job.yaml", *flags],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 7, done.stderr
        assert (cli.STARTING in done.stderr) == announced


@pytest.mark.parametrize(
    ("kind", "said"), [("nonsense", "neither a status nor an error kind"), ("timeoout", "did you mean timeout?")]
)
def test_an_unknown_kind_of_failure_is_refused(environment, capsys, tmp_path, kind, said):
    """`--retry-failed` takes `any`, a status or an error kind; a slip is refused and the near one named."""
    assert main(["run", str(tmp_path / "job.yaml"), "--direct", "--retry-failed", kind]) == ExitCode.REFUSED
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert "rate_limit_exceeded" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_commands(environment, capsys, shell):
    """The script of each shell knows the commands and their flags."""
    assert main(["completion", shell]) == ExitCode.OK
    script = capsys.readouterr().out
    assert "estimate" in script
    assert "retry-failed" in script


def test_completion_without_shtab_says_how_to_get_it(environment, capsys):
    """shtab is an extra."""
    environment.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == ExitCode.REFUSED
    assert "rowmill[completion]" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["-1", "65536", "99999"])
def test_a_sandbox_refuses_what_is_no_port(environment, capsys, port):
    """A sentence with the range, and no traceback."""
    assert main(["sandbox", "--port", port]) == ExitCode.REFUSED
    said = capsys.readouterr().err
    assert "from 0 (any free one) to 65535" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("flags", "human"), [([], True), (["--json"], False)])
def test_a_sandbox_greets_people_on_a_terminal(flags, human):
    """On a terminal a sentence with the lines to copy; one JSON object with --json, as into a pipe."""
    leader, follower = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "rowmill", "sandbox", "--port", "0", *flags],
        stdout=follower, stderr=follower, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(follower)
        assert select.select([leader], [], [], 30)[0]
        said = os.read(leader, 4_096).decode()
        process.terminate()
    os.close(leader)
    assert ("export ROWMILL_BASE_URL=http://127.0.0.1:" in said) == human
    assert said.startswith("{") != human


def test_a_command_starts_without_what_only_its_end_needs() -> None:
    """Opening a run imports neither Prefect, nor polars, which takes a sixth of all imports: nobody waits for them."""
    names = ("prefect", "polars", "pandas", "scipy")
    program = (
        "import sys\nfrom rowmill.flows.commands import check, estimate, run, status\n"
        f"print([name for name in {names} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
