"""Embedded server: the Prefect server that a run starts for itself where no API is set.

It inherits the environment of the run, of which it must not have the key; the run speaks to it on this machine, past
any proxy that stands before the gateway; and it ends with the run, also where that is killed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from prefect.settings import PREFECT_API_URL

from rowmill.tasks.gateway.credentials import key_withheld
from rowmill.tasks.system import until_closed


def prepare_embedded_server() -> None:
    """Have Prefect start its embedded server without the key in its environment, to end with this process. Harmless
    where it starts none.
    """
    if PREFECT_API_URL.value():
        return
    # Prefect offers no other place: it hands the whole of os.environ on as it starts the process.
    from prefect.server.api import server as servers
    from prefect.server.api.server import SubprocessASGIServer

    start = SubprocessASGIServer._run_uvicorn_command
    if hasattr(start, "withholds_key"):
        return

    def start_without_key(server: SubprocessASGIServer) -> subprocess.Popen[Any]:
        _pass_proxies_by(f"127.0.0.1:{server.port}")
        with key_withheld(os.environ), _ending_with_us(servers):
            return start(server)

    start_without_key.withholds_key = True  # type: ignore[attr-defined]
    SubprocessASGIServer._run_uvicorn_command = start_without_key  # type: ignore[assignment, method-assign]


class _UntilClosed(ModuleType):
    """What Prefect's module starts its server by: the same command, under the watch of a pipe that closes with us."""

    @staticmethod
    def Popen(args: list[str], **more: Any) -> subprocess.Popen[Any]:
        python, flag, *rest = args
        if flag == "-m":
            args, more["stdin"] = [python, until_closed.__file__, *rest], subprocess.PIPE
        return subprocess.Popen(args, **more)


@contextmanager
def _ending_with_us(servers: ModuleType) -> Iterator[None]:
    servers.subprocess = _UntilClosed("subprocess")  # type: ignore[attr-defined]
    try:
        yield
    finally:
        servers.subprocess = subprocess  # type: ignore[attr-defined]


def _pass_proxies_by(address: str) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        if name in os.environ or name == "NO_PROXY":
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), address)))
