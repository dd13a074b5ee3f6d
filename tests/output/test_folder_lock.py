"""Folder lock: one run holds an output, and who only looks keeps nobody out."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from rowmill.schemas.errors import OutputError
from rowmill.tasks.output.folder_lock import LOOK_S, LOOKS, FolderLock, is_locked


def test_who_only_looks_keeps_no_run_out(tmp_path: Path) -> None:
    """A run that begins while `status` or a view looks whether one lives waits that instant, and has the output."""
    looks = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(looks, fcntl.LOCK_SH)
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            os.close(looks)

    lock = FolderLock(tmp_path, sleep)
    assert waits == [LOOK_S, LOOK_S]
    assert is_locked(tmp_path)
    lock.close()
    assert not is_locked(tmp_path)


def test_a_run_keeps_another_out(tmp_path: Path) -> None:
    """An output that is held for longer is refused, with who holds it."""
    held, waits = FolderLock(tmp_path), list[float]()
    with pytest.raises(OutputError, match=f"process {os.getpid()}"):
        FolderLock(tmp_path, waits.append)
    assert len(waits) == LOOKS - 1
    held.close()
    FolderLock(tmp_path).close()
