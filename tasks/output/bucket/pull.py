"""Pull: an output in a bucket, fetched into a folder of this machine, of which some may be there already."""

from __future__ import annotations

import os
from pathlib import Path

from rowmill.schemas.errors import DamageError
from rowmill.tasks.output.bucket.copy_state import CopyState, state_of
from rowmill.tasks.output.bucket.lease import LOCK
from rowmill.tasks.output.bucket.names import GONE, NOT_FETCHED, files_in, is_piece, is_segment
from rowmill.tasks.output.bucket.objects import Object, Objects
from rowmill.tasks.output.bucket.worker_pieces import is_workers


class Pull:
    """One fetch. `goes_on` tells that the run before was of this copy and was killed: what it wrote is newer."""

    def __init__(self, objects: Objects, folder: Path, state: CopyState, *, goes_on: bool) -> None:
        self._objects, self._folder, self._state, self._goes_on = objects, folder, state, goes_on

    def fetch(self) -> list[Object]:
        """Make the folder equal to the bucket. Returns what coordinators and workers of a cluster have left there.

        Raises OSError: FileNotFoundError where something is gone that was listed; DamageError.
        """
        known = self._state.remembered()
        listed = [one for one in self._objects.list() if one.name != LOCK]
        found = {one.name: one for one in listed if not is_workers(one.name)}
        self._state.tags = {name: one.etag for name, one in found.items()}
        wanted = {name for name in found if not name.startswith(NOT_FETCHED) and not is_piece(name)}
        pieces = {name: name.rpartition("/")[0] for name in found if is_piece(name)}
        segments = set(pieces.values()) - {pieces[name] for name in pieces if name.endswith(f"/{GONE}")}
        for path in files_in(self._folder):
            name = path.relative_to(self._folder).as_posix()
            if name not in wanted and not name.startswith(NOT_FETCHED) and not self._is_newer(name, segments):
                path.unlink()
        for name in sorted(wanted):
            self._fetch(found[name], known.get(name))
        for name in sorted(segments):
            self._fetch_segment(name, [one for one in found.values() if one.name.startswith(f"{name}/")])
        return [one for one in listed if is_workers(one.name)]

    def _is_newer(self, name: str, segments: set[str]) -> bool:
        """Whether a segment here may hold more than the bucket: what a killed run wrote and had not put yet."""
        return is_segment(name) and (self._goes_on or name in segments)

    def _fetch(self, one: Object, known: tuple[str, int, int] | None) -> None:
        path = self._folder / one.name
        if known is None or not path.exists() or known != (one.etag, *state_of(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_bytes(self._objects.get(one.name))
            os.replace(temporary, path)
        self._state.equal[one.name] = state_of(path)

    def _fetch_segment(self, name: str, pieces: list[Object]) -> None:
        """A segment from its pieces; one that a killed run left here stays where it holds the same and more."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.read_bytes() if self._goes_on and path.exists() else b""
        at = 0
        with open(path, "wb") as file:
            for piece in sorted(pieces, key=lambda one: one.name):
                if piece.name != f"{name}/{at:012d}":
                    raise DamageError(
                        f"a piece of the journal is missing: {name}/{at:012d}",
                        where=self._objects.url,
                        hint="restore it from a version of the bucket, or run with --fresh-part",
                    )
                content = self._objects.get(piece.name)
                held = held if held[at : at + len(content)] == content else b""
                file.write(content)
                at += piece.size
            file.write(held[at:])
        self._state.sent[name] = at
