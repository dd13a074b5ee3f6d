"""Output: the folder of a run while it is held: its parts and segments, its manifest, what is set aside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rowmill.schemas.errors import OutputError
from rowmill.schemas.manifest import Manifest
from rowmill.tasks.journal.ledger import LEDGER
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.folder_lock import FolderLock
from rowmill.tasks.output.layout import MANIFEST, PARTS, SPLIT, Layout, segments_in
from rowmill.tasks.output.manifest_file import read_manifest
from rowmill.tasks.output.part_footer import Footer, read_footer
from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.system.durable import PRIVATE_FOLDER, private_folder, write_file, write_hint

KEPT_WHEN_FRESH = ("results", "journal", MANIFEST, LEDGER, "report.html", "estimate.json")


class Output(Layout):
    """One output folder, held by one process until `close`."""

    def __init__(self, root: Path, mirror: Mirror | None = None) -> None:
        """Creates the folder and takes its lock. Raises OutputError where it cannot be written or is in use."""
        super().__init__(root)
        self.mirror = mirror
        if root.exists() and not root.is_dir():
            raise OutputError("the output is a file", where=str(root), hint="name a folder")
        try:
            private_folder(root)
            self._lock = FolderLock(root)
        except OSError as error:
            raise OutputError(f"cannot be written: {error.strerror}", where=str(root), hint=write_hint(error)) from None
        try:
            private_folder(self.results)
            private_folder(self.journal)
        except OSError as error:
            self.close()
            raise OutputError(f"cannot be written: {error.strerror}", where=str(root), hint=write_hint(error)) from None

    def close(self) -> None:
        self._lock.close()

    def manifest(self) -> Manifest | None:
        return read_manifest(self.root)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace run.json in one step. Raises StorageError."""
        path = self.root / MANIFEST
        write_file(path, json.dumps(manifest.as_dict(), indent=1, ensure_ascii=False).encode())
        if self.mirror is not None:
            self.mirror.keep_later(path)

    def keep(self, path: Path) -> None:
        if self.mirror is not None:
            self.mirror.keep(path)

    def drop(self, path: Path) -> None:
        super().drop(path)
        if self.mirror is not None:
            self.mirror.drop(path)

    def parts(self) -> dict[int, Footer]:
        """The complete parts by shard number. Raises DamageError for one that cannot be read.

        A part written as a preview of a stopped run is left out: its shard's truth is still the journal.
        """
        found: dict[int, Footer] = {}
        for path in result_parts(self.results):
            footer = read_footer(path)
            if footer.complete:
                found[footer.shard.number] = footer
        return found

    def part_sizes(self, parts: Mapping[int, Footer]) -> dict[int, int]:
        """Rows of each part by number. The size of one part that is missing is told by its neighbours."""
        sizes = {number: footer.shard.rows for number, footer in parts.items()}
        for number in range(max(parts, default=0)):
            if number not in parts and number + 1 in parts and (number == 0 or number - 1 in parts):
                before = parts.get(number - 1)
                first = before.shard.first_row + before.shard.rows if before else 0
                sizes[number] = parts[number + 1].shard.first_row - first
        return sizes

    def set_part_aside(self, number: int, name: str) -> None:
        """Move a damaged part (and its segment) into `previous/NAME`. Raises OutputError where there is neither."""
        standing = [path for path in (self.part_path(number), self.segment_path(number)) if path.exists()]
        if not standing:
            raise OutputError(
                f"there is no part {number} to make afresh",
                where=str(self.results),
                hint="`rowmill status OUT --verify` names damaged parts",
            )
        aside = self.root / "previous" / name
        private_folder(aside)
        for path in standing:
            path.rename(aside / path.name)

    def segments(self) -> dict[int, Path]:
        """The segments of open shards by shard number."""
        return segments_in(self.journal)

    def set_aside(self, name: str) -> Path | None:
        """Move all there is into `previous/NAME`: nothing paid for is thrown away. None where there was nothing."""
        standing = [self.root / part for part in KEPT_WHEN_FRESH if (self.root / part).exists()]
        standing = [path for path in standing if path.is_file() or any(path.iterdir())]
        if not standing:
            return None
        aside = self.root / "previous" / name
        try:
            aside.mkdir(mode=PRIVATE_FOLDER, parents=True)
            for path in standing:
                path.rename(aside / path.name)
            private_folder(self.results)
            private_folder(self.journal)
        except OSError as error:
            raise OutputError(
                f"cannot be set aside: {error.strerror}", where=str(aside), hint=write_hint(error)
            ) from None
        return aside


def refuse_split(output: Output) -> None:
    """Raises OutputError where the job of this output is split into parts, and not all of them stand in it yet."""
    manifest = output.manifest()
    if manifest is None:
        is_split = (output.root / PARTS / SPLIT).exists()
    else:
        is_split = bool(manifest.split) and not manifest.is_complete
    if is_split:
        raise OutputError(
            "this job is split into parts, which are run for themselves",
            where=str(output.root),
            hint="run those that are not complete, then rowmill merge; or name another output",
        )
