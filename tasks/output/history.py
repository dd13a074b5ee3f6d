"""History: one line for each run of an output, in a file that later runs append to and `--fresh` leaves in place."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from rowmill.schemas.errors import DamageError, StorageError
from rowmill.schemas.history import RunRecord, record_of
from rowmill.tasks.system.durable import PRIVATE_FILE, sync_folder, write_hint

HISTORY = "history.jsonl"
log = logging.getLogger("rowmill")


def read_history(path: Path) -> list[RunRecord]:
    """The runs on record, in the order of their first lines; none where there is no file. Raises DamageError where it
    cannot be read.
    """
    try:
        return records_in(path.read_bytes(), str(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DamageError(
            f"the history cannot be read: {error.strerror}", where=str(path), hint="move it aside: a new one is begun"
        ) from None


def records_in(content: bytes, where: str) -> list[RunRecord]:
    """Records by run: a later line of one run stands for the earlier one. What is no record is left out, and told."""
    found: dict[str, RunRecord] = {}
    for number, line in enumerate(content.splitlines(), 1):
        try:
            record = record_of(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            log.warning("%s: line %d is no record of a run, and is left out", where, number)
            continue
        found[record.run_id] = record
    return list(found.values())


def append_history(path: Path, records: Iterable[RunRecord]) -> None:
    """Append these runs in one durable step; what a killed run left of a line is cut off. Raises StorageError."""
    lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
    if not lines:
        return
    try:
        is_new = not path.exists()
        fd = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            end = _whole_lines(fd)
            os.ftruncate(fd, end)
            os.pwrite(fd, lines, end)
            os.fsync(fd)
        finally:
            os.close(fd)
        if is_new:
            sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"the history cannot be written: {error.strerror}", where=str(path), hint=write_hint(error)
        ) from None


def _whole_lines(fd: int) -> int:
    """Where the last whole line ends, in bytes."""
    end, step = os.fstat(fd).st_size, 1 << 16
    while end > 0:
        start = max(0, end - step)
        if (at := os.pread(fd, end - start, start).rfind(b"\n")) >= 0:
            return start + at + 1
        end = start
    return 0
