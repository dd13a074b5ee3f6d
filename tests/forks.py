"""Forks: the command in processes of its own that need not import it again.

What `python -m rowmill` imports takes a second and more, and the tests run it many hundred times. So one process
imports it once and forks for each command: a process as real as another, with its own folder, environment, pipes,
signals and exit code. What a process must be from its first instruction on (its environment in /proc, its memory, the
variables that Python itself reads) is tested with a command that starts in the ordinary way.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

from rowmill.flows import cli

# What a run and the commands that read its output import on their way, without Prefect, which reads the environment
# when it is imported.
PRELOADED = (
    "rowmill.flows.commands.run", "rowmill.flows.commands.check", "rowmill.flows.commands.estimate",
    "rowmill.flows.orchestration.pipeline", "rowmill.flows.text.summary",
    "rowmill.tasks.run.run", "rowmill.tasks.labelling.label_run", "rowmill.tasks.labelling.quality",
    "rowmill.tasks.output.bucket.mirror", "rowmill.sandbox.__main__",
)  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent
Main = Callable[[Sequence[str]], int]
# Variables that are read by Python or by a library when it starts.
READ_EARLY = ("PYTHON", "PREFECT_", "LC_", "LANG", "TZ")


class Forks:
    """Starts processes that call `main` of a module: the command's, or one around it. One process has called its
    `prepare`, forks, and ends with this one.
    """

    def __init__(self, module: str = "tests.forks") -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.forks", str(theirs.fileno()), module],
                cwd=ROOT,
                env={**plain_environment(), "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def close(self) -> None:
        self._ours.close()
        self._server.wait()

    def run(
        self, args: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout: float
    ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a process in a folder. Raises subprocess.TimeoutExpired."""
        with self.start(args, folder=folder, environment=environment) as started:
            return started.communicate(timeout)

    def start(self, args: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> Started:
        """Start a process in a folder, with pipes in place of its standard streams."""
        told = json.dumps({"args": [*args], "folder": str(folder), "environment": {**environment}}).encode()
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        (stdin_end, stdin), (stdout, stdout_end), (stderr, stderr_end) = os.pipe(), os.pipe(), os.pipe()
        handed = (theirs.fileno(), stdin_end, stdout_end, stderr_end)
        socket.send_fds(self._ours, [len(told).to_bytes(8)], handed)
        theirs.close()
        for fd in handed[1:]:
            os.close(fd)
        channel.sendall(told)
        return Started(
            channel, *(open(fd, mode, buffering=0) for fd, mode in ((stdin, "wb"), (stdout, "rb"), (stderr, "rb")))
        )


class Started:
    """A process that was started. It is killed where it still runs when nobody waits for it any more."""

    def __init__(self, channel: socket.socket, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self._channel = channel
        self._told = channel.makefile("r")
        self.pid = int(self._told.readline())

    def communicate(self, timeout: float) -> tuple[int, str, str]:
        """Exit code, stdout and stderr, once it has ended. Raises subprocess.TimeoutExpired; it is killed then."""
        self.stdin.close()
        try:
            texts = _read((self.stdout, self.stderr), until=time.monotonic() + timeout)
        except TimeoutError:
            os.killpg(self.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired("a forked process", timeout) from None
        return self.wait(), *texts

    def wait(self) -> int:
        """The exit code once it has ended: minus the signal's number where one killed it."""
        return int(self._told.readline())

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.__exit__()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self.stdin, self.stdout, self.stderr, self._told, self._channel):
            each.close()


def _read(pipes: Sequence[IO[bytes]], *, until: float) -> tuple[str, str]:
    """What comes out of both pipes to their end. Raises TimeoutError."""
    read: dict[IO[bytes], bytearray] = {pipe: bytearray() for pipe in pipes}
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ, pipe)
        while selector.get_map():
            if not (ready := selector.select(max(until - time.monotonic(), 0))):
                raise TimeoutError
            for key, _ in ready:
                if piece := key.data.read(1 << 16):
                    read[key.data] += piece
                else:
                    selector.unregister(key.data)
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(bytes(read[pipe]))).read() for pipe in pipes)
    return stdout, stderr


def plain_environment() -> dict[str, str]:
    """This process's environment without what is set for rowmill or Prefect."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ROWMILL_", "PREFECT_"))}


def prepare() -> None:
    """Import what the command imports on its way."""
    for name in PRELOADED:
        importlib.import_module(name)


def main(args: Sequence[str]) -> int:
    """The command."""
    return cli.main(args)


def _serve(asked: socket.socket, module: str) -> None:
    """Fork for each process that is asked for, until nobody can ask any more."""
    home = importlib.import_module(module)
    home.prepare()
    main = home.main
    gc.collect()
    gc.freeze()
    while True:
        _bury()
        size, fds, _, _ = socket.recv_fds(asked, 8, 4)
        if not size:
            break
        if os.fork() == 0:
            asked.close()
            _attend(main, int.from_bytes(size), fds[0], fds[1:])
        for fd in fds:
            os.close(fd)


def _bury() -> None:
    """Forget those that have waited for their processes."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _attend(main: Main, size: int, channel: int, streams: Sequence[int]) -> NoReturn:
    """Fork the process, tell its pid, wait for it, tell its exit code: minus the signal's number where one killed it."""
    with socket.socket(fileno=channel) as asker:
        told = json.loads(asker.recv(size, socket.MSG_WAITALL))
        if (pid := os.fork()) == 0:
            asker.close()
            _be(main, told, streams)
        for fd in streams:
            os.close(fd)
        with contextlib.suppress(OSError):
            asker.sendall(b"%d\n" % pid)
        ended = os.pidfd_open(pid)
        # Its asker says nothing more: what is heard from him is that he is gone.
        if ended not in select.select([asker, ended], [], [])[0]:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            asker.sendall(b"%d\n" % code)
    os._exit(0)


def _be(main: Main, told: Mapping[str, object], streams: Sequence[int]) -> NoReturn:
    """The process, to its end."""
    os.setsid()
    for onto, fd in enumerate(streams):
        os.dup2(fd, onto)
        os.close(fd)
    os.chdir(str(told["folder"]))
    os.environ.clear()
    os.environ.update(told["environment"])  # type: ignore[call-overload]
    arguments = told["args"]
    assert isinstance(arguments, list)
    # As `python -m` has it.
    sys.argv = ["rowmill", *arguments]
    sys.path[:] = [str(told["folder"]), *(path for path in sys.path[1:] if path != str(ROOT))]
    code = 1
    try:
        code = _code_of(main, arguments)
    except BaseException:
        traceback.print_exc()
    # What the interpreter does when it ends.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _code_of(main: Main, arguments: Sequence[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        _serve(asked, sys.argv[2])
