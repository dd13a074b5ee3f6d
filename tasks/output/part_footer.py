"""Part footer: what a part tells about itself, and whether it is as it was written."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.errors import DamageError
from rowmill.schemas.manifest import PartDigest
from rowmill.schemas.row import Shard
from rowmill.schemas.tally import Tally

FOOTER = "rowmill.part"
PART_VERSION = 1
# Rows that are read at a time where all are.
READ_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Footer:
    """What a part tells about itself in its own file: which rows, of which job, and their sums."""

    version: int
    job: str
    shard: Shard
    complete: bool
    tally: dict[str, Any]


def read_footer(path: Path) -> Footer:
    """A part's own account of itself. Raises DamageError where the file is cut or was made by something else."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as parquet:
            told = (parquet.schema_arrow.metadata or {}).get(FOOTER.encode())
        footer = msgspec.json.decode(told or b"", type=Footer)
    except (OSError, pa.ArrowException, msgspec.MsgspecError, ValueError) as error:
        raise _damaged(path, error) from None
    return footer


def _damaged(path: Path, error: Exception) -> DamageError:
    return DamageError(
        f"the part is damaged: {(str(error).splitlines() or ['unreadable'])[0][:200]}",
        where=str(path),
        hint=f"restore it from a copy, or run with --fresh-part {_part_number(path)}: it is moved aside, and its rows "
        "are asked (and paid for) again",
    )


def _part_number(path: Path) -> str:
    return path.name.removeprefix("part-").split(".")[0].lstrip("0") or "0"


def part_digest(path: Path) -> PartDigest:
    """Size and blake2b-128 of a part as it stands: a Parquet footer has no checksum of its own."""
    found = blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
        return PartDigest(file.tell(), found.hexdigest())


def verify_part(path: Path, digest: PartDigest | None) -> None:
    """Read a part whole, against the digest the manifest holds and its pages' checksums. Raises DamageError."""
    try:
        if digest is not None and part_digest(path) != digest:
            raise ValueError("it is not as it was written (its digest differs from the manifest's)")
        with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as parquet:
            for _ in parquet.iter_batches(READ_ROWS, use_threads=False):
                pass
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from None


def tally_of(footer: Footer) -> Tally:
    """A part's sums, from its footer."""
    return msgspec.convert(footer.tally, Tally)


def tally_value(tally: Tally) -> dict[str, Any]:
    """A tally as the footer holds it."""
    value: dict[str, Any] = msgspec.to_builtins(tally)
    return value
