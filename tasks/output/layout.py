"""Layout: where things stand in an output folder, by name."""

from __future__ import annotations

from pathlib import Path

from rowmill.tasks.output.bucket.worker_pieces import WORKER_PREFIX

MANIFEST = "run.json"
# Where the parts of a split job stand in its output, and what is written down of the split.
PARTS, SPLIT = "parts", "split.json"
LOCK = ".lock"
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


def number_of(path: Path) -> int:
    """The number of the shard that a part or a segment is of."""
    return int(path.stem.split("-")[1])


def segments_in(journal: Path) -> dict[int, Path]:
    """The segments of open shards by shard number: a worker's own where it has one, which holds all of the shard's."""
    return {
        number_of(path): path for kind in ("shard", WORKER_PREFIX) for path in sorted(journal.glob(f"{kind}-*.jsonl"))
    }
