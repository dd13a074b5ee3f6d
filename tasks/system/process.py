"""Owner: which process holds an output, in words for others."""

from __future__ import annotations

import os
import socket

from rowmill.schemas.errors import OutputError


def this_process() -> str:
    """This process, in words for others."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def in_use(where: str, owner: str) -> OutputError:
    """What an output that another run holds is to who wants it."""
    return OutputError(
        f"another run works on this output ({owner or 'owner unknown'})",
        where=where,
        hint="wait for it, stop it, or name another output",
    )
