"""Line numbers: in which line of a CSV file a byte stands, as an editor counts. Found only for what is wrong there."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

from rowmill.schemas.file_state import FileState
from rowmill.tasks.input.csv_dialect import Dialect
from rowmill.tasks.input.files import InputFile, state_of

PIECE = 1 << 20
# Farther from what is known a line is not counted for; a compressed file is read from its beginning each time.
FAR, FAR_COMPRESSED = 256 << 20, 16 << 20


class LineNumbers:
    """What is known of one file: at some offsets, how many lines end before them."""

    def __init__(self) -> None:
        self._offsets, self._lines = [0], [0]

    def at(self, offset: int, file: InputFile, dialect: Dialect) -> int | None:
        """The line in which an offset stands, from 1; None where it is far from all that is known. Raises OSError."""
        nearest = bisect_right(self._offsets, offset) - 1
        begin, lines = self._offsets[nearest], self._lines[nearest]
        compressed = file.compression is not None or dialect.is_transcoded
        if offset - (0 if compressed else begin) > (FAR_COMPRESSED if compressed else FAR):
            return None
        left = offset - begin
        with dialect.open(file, begin) as stream:
            while left and (piece := stream.read(min(left, PIECE))):
                lines += piece.count(b"\n")
                left -= len(piece)
        if offset not in self._offsets[nearest : nearest + 1]:
            self._offsets.insert(nearest + 1, offset)
            self._lines.insert(nearest + 1, lines)
        return lines + 1


def line_numbers(file: InputFile) -> LineNumbers:
    """What is known of a file as it stands now. Raises OSError."""
    return _of(file, state_of(file))


@lru_cache(256)
def _of(file: InputFile, _: FileState) -> LineNumbers:
    return LineNumbers()
