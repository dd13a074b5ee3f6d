"""Output: the folder of a run: its lock, its parts and segments, its manifest. Never held by two at once."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import msgspec

from rowmill.schemas.errors import DamageError, OutputError, StorageError
from rowmill.schemas.manifest import MANIFEST_VERSION, Manifest
from rowmill.tasks.journal.ledger import LEDGER
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.bucket.worker_pieces import WORKER_PREFIX
from rowmill.tasks.output.part_footer import Footer, read_footer
from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.system.durable import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    hint_of,
    private_folder,
    published,
    write_hint,
)
from rowmill.tasks.system.process import in_use, this_process

MANIFEST = "run.json"
# Where the parts of a split job stand in its output, and what is written down of the split.
PARTS, SPLIT = "parts", "split.json"
LOCK = ".lock"
KEPT_WHEN_FRESH = ("results", "journal", MANIFEST, LEDGER, "report.html", "estimate.json")


# The journal of settled rows that are asked again.
CANARY = "canary.jsonl"


class Layout:
    """Where things stand in an output folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results, self.journal = root / "results", root / "journal"

    def segment_path(self, number: int) -> Path:
        return self.journal / f"shard-{number:06d}.jsonl"

    def part_path(self, number: int) -> Path:
        return self.results / f"part-{number:06d}.parquet"

    def keep(self, path: Path) -> None:
        """A file was published: make it stand wherever else the output stands. Raises StorageError."""

    def drop(self, path: Path) -> None:
        """Delete a file whose content stands elsewhere by now."""
        path.unlink(missing_ok=True)


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
            self._lock = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        except OSError as error:
            raise OutputError(f"cannot be written: {error.strerror}", where=str(root), hint=write_hint(error)) from None
        self._take_lock()
        try:
            private_folder(self.results)
            private_folder(self.journal)
        except OSError as error:
            self.close()
            raise OutputError(f"cannot be written: {error.strerror}", where=str(root), hint=write_hint(error)) from None

    def _take_lock(self) -> None:
        """Locks of the kernel's, on the folder and on a file in it: they end with the process, and a file left behind
        means nothing. That of the folder holds though somebody deletes the file; some network file systems lock no
        folders.
        """
        self._folder_lock = os.open(self.root, os.O_RDONLY)
        try:
            if _lock(self._folder_lock) is Locked.BY_ANOTHER or _lock(self._lock) is Locked.BY_ANOTHER:
                owner = os.read(self._lock, 200).decode("utf-8", "replace").strip()
                raise in_use(str(self.root), owner)
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, this_process().encode(), 0)
        except OSError as error:
            self.close()
            raise StorageError(
                f"cannot be written: {error.strerror}", where=str(self.root), hint=write_hint(error)
            ) from None
        except OutputError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._lock)
        os.close(self._folder_lock)

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
                hint="rowmill status names damaged parts",
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


def number_of(path: Path) -> int:
    """The number of the shard that a part or a segment is of."""
    return int(path.stem.split("-")[1])


def segments_in(journal: Path) -> dict[int, Path]:
    """The segments of open shards by shard number: a worker's own where it has one, which holds all of the shard's."""
    return {
        number_of(path): path for kind in ("shard", WORKER_PREFIX) for path in sorted(journal.glob(f"{kind}-*.jsonl"))
    }


class Locked(Enum):
    """What became of the wish to lock a file."""

    BY_US = "by us"
    BY_ANOTHER = "by another"
    NOT_POSSIBLE = "not possible"


def _lock(fd: int, kind: int = fcntl.LOCK_EX) -> Locked:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return Locked.BY_ANOTHER
    except OSError:
        return Locked.NOT_POSSIBLE
    return Locked.BY_US


def is_locked(root: Path) -> bool:
    """Whether a run holds this output now; the kernel knows, a file left behind does not."""
    for path in (root, root / LOCK):
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            if _lock(fd, fcntl.LOCK_SH) is Locked.BY_ANOTHER:
                return True
        finally:
            os.close(fd)
    return False


def refuse_in_use(root: Path) -> None:
    """Raises OutputError where a run holds this output now."""
    if is_locked(root):
        raise in_use(str(root), (root / LOCK).read_text(encoding="utf-8", errors="replace").strip())


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


def read_manifest(root: Path) -> Manifest | None:
    """run.json of an output, of this version or an older one; None where there is none.

    Raises OutputError where it may not be read; DamageError where it is no JSON, or holds another kind of value than a
    manifest does.
    """
    path = root / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(
            f"cannot be read: {error.strerror}", where=str(path), hint=hint_of(error) or "look after the disk"
        ) from None
    return manifest_in(content, str(path))


def manifest_in(content: bytes, where: str) -> Manifest:
    """A manifest from the bytes of run.json. Raises DamageError as `read_manifest`."""
    told = None
    try:
        told = json.loads(content)
        return msgspec.convert(told, Manifest)
    except ValueError as error:
        version = told.get("version") if isinstance(told, dict) else None
        if isinstance(version, int) and version > MANIFEST_VERSION:
            what = f"a newer version of rowmill wrote it: {error}"
            raise DamageError(what, where=where, hint="update rowmill") from None
        raise _damaged(where, f"is no manifest: {error}") from None


def _damaged(where: str, what: str) -> DamageError:
    return DamageError(what, where=where, hint="delete it: it is made again from the parts and the journal")


def manifest_of(root: Path) -> Manifest:
    """run.json of an output. Raises OutputError where there is no run, DamageError."""
    manifest = read_manifest(root) if root.is_dir() else None
    if manifest is None:
        raise no_run(str(root))
    return manifest


def no_run(where: str) -> OutputError:
    """What a folder without a run is to who asks for one."""
    return OutputError("there is no run here (no run.json)", where=where, hint="name the output folder of a run")


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, durably. Raises StorageError."""
    with published(path, path.name) as file:
        file.write(content)
