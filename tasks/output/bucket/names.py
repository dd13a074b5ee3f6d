"""Names: what a file of an output is in its bucket: one object, or, of a journal's segment, the pieces of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SEGMENT = "journal/shard-"
# An object below a segment that tells that its pieces are being deleted.
GONE = "gone"
# What the folder of a copy knows of its objects.
STATE = ".replica.json"
# Never copied: what only this machine's processes use, and what was set aside and is read by nobody.
NOT_COPIED = (".lock", ".tmp", ".sqlite", STATE)
NOT_FETCHED = "previous/"


def is_segment(name: str) -> bool:
    return name.startswith(SEGMENT) and name.endswith(".jsonl")


def is_piece(name: str) -> bool:
    return is_segment(name.rpartition("/")[0])


def files_in(folder: Path) -> Iterator[Path]:
    """The files of a copy that have objects."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith(NOT_COPIED):
            yield path
