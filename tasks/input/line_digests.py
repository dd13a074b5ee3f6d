"""Line digests: what each row of the input is known by, wherever it comes to stand."""

from __future__ import annotations

import os
import tempfile
import threading
from hashlib import blake2b
from pathlib import Path

from rowmill.schemas.errors import StorageError
from rowmill.schemas.row import Shard
from rowmill.tasks.input.files import Line
from rowmill.tasks.input.stream import BOM

DIGEST_BYTES = 16
# A row that is not known by its line: what is read of it, or told of it, depends on where it stands.
UNKNOWN = bytes(DIGEST_BYTES)
HELD_MOST = 1 << 20


def line_digest(line: Line, *, is_named: bool) -> bytes:
    """blake2b-128 of all that a row is made of. `is_named`: it tells its own id, so that its place is no part of it.

    A line that could not be read is not known: its message says where it stands. Neither is one that begins with a
    byte order mark, which is none anywhere but at the beginning of a file.
    """
    raw = line.raw
    if line.problem is not None:
        return UNKNOWN
    if line.columns is None:
        if raw.startswith(BOM):
            return UNKNOWN
        # The last line of a file may lack its line feed.
        raw = raw.rstrip(b"\r\n")
    found = blake2b(raw, digest_size=DIGEST_BYTES, person=b"named" if is_named else b"placed")
    if line.context:
        found.update(len(raw).to_bytes(8, "little") + line.context)
    return found.digest()


class LineDigests:
    """The digests of an input's rows in their order: 16 bytes each, in a file without a name.

    Shards are cut and written by several threads.
    """

    def __init__(self, folder: Path) -> None:
        """Raises StorageError."""
        self._folder, self._held, self._written = folder, bytearray(), 0
        self._lock = threading.Lock()
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  closed with the digests
        except OSError as error:
            raise self._refused(error) from None

    def add(self, digest: bytes) -> None:
        """The next row's, or those of the next rows. Raises StorageError."""
        with self._lock:
            self._held += digest
            if len(self._held) >= HELD_MOST:
                self._write()

    def of(self, shard: Shard) -> bytes:
        """Those of a shard's rows. Raises StorageError."""
        with self._lock:
            self._write()
        return os.pread(self._file.fileno(), shard.rows * DIGEST_BYTES, shard.first_row * DIGEST_BYTES)

    def _write(self) -> None:
        try:
            while self._held:
                done = os.pwrite(self._file.fileno(), self._held, self._written)
                self._written += done
                del self._held[:done]
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(
            f"what the rows are known by cannot be written: {error.strerror}",
            where=str(self._folder),
            hint="free disk space and run the same command again: what was settled stands",
        )

    def close(self) -> None:
        self._file.close()
