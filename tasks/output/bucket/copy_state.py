"""Copy state: how far a folder of this machine is the same as the output in a bucket that it is a copy of."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from rowmill.tasks.output.bucket.names import STATE


class CopyState:
    """`tags` of the objects, by their names; of each file its size and time of change when it was last `equal` to its
    object; of each segment the bytes that are in the bucket (`sent`).
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / STATE
        self.tags: dict[str, str] = {}
        self.equal: dict[str, tuple[int, int]] = {}
        self.sent: dict[str, int] = {}

    def remembered(self) -> dict[str, tuple[str, int, int]]:
        """Tags, sizes and times of the files as they were left."""
        try:
            told = json.loads(self._file.read_bytes())
            return {name: (str(tag), int(size), int(mtime)) for name, (tag, size, mtime) in told.items()}
        except (OSError, ValueError, TypeError):
            return {}

    def remember(self) -> None:
        with suppress(OSError):
            told = {name: [self.tags[name], *state] for name, state in self.equal.items() if name in self.tags}
            self._file.write_text(json.dumps(told))


def state_of(path: Path) -> tuple[int, int]:
    """Size and time of change of a file."""
    told = path.stat()
    return told.st_size, told.st_mtime_ns
