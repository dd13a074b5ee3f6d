"""Patterns: a glob on disk → its files. `**` enters each folder once, whatever links lead back to it."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator

ANY_DEPTH = "**"


def files_matching(pattern: str) -> list[str]:
    """The files a pattern matches, sorted, as glob.glob finds them: hidden names only where the pattern names them."""
    return sorted({name for name in _matching(pattern) if os.path.isfile(name)})


def _matching(pattern: str) -> Iterator[str]:
    parts = pattern.split(os.sep)
    if ANY_DEPTH not in parts:
        yield from glob.iglob(pattern)
        return
    at = parts.index(ANY_DEPTH)
    rest = os.sep.join(parts[at + 1 :])
    before = os.sep.join(parts[:at])
    for root in glob.iglob(before) if before else (os.sep if at and pattern.startswith(os.sep) else "",):
        for folder in _folders(root):
            if rest:
                yield from _matching(os.path.join(glob.escape(folder), rest))
            else:
                yield from glob.iglob(os.path.join(glob.escape(folder), "*"))


def _folders(root: str) -> Iterator[str]:
    """A folder and those below it, links followed, each once: under its own name rather than a link's."""
    seen: set[tuple[int, int]] = set()
    open_folders: list[str] = [root]
    links: list[str] = []
    while open_folders or links:
        folder = open_folders.pop() if open_folders else links.pop(0)
        try:
            state = os.stat(folder or os.curdir)
            if (state.st_dev, state.st_ino) in seen:
                continue
            with os.scandir(folder or os.curdir) as entries:
                below = sorted((entry.name, entry.is_symlink()) for entry in entries if entry.is_dir())
        except OSError:
            # No folder, or one that cannot be read: what is below it cannot be matched.
            continue
        seen.add((state.st_dev, state.st_ino))
        yield folder
        for name, is_link in below:
            if not name.startswith("."):
                (links if is_link else open_folders).append(os.path.join(folder, name))
