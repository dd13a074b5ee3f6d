"""Divide: an input cut into contiguous parts for jobs of their own, by its files or within them.

A part begins at a place and ends where the next one begins; the first has what comes before, the last what follows. So
rows that are appended, and files that are added, fall into one part, and the places of the others stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

from rowmill.schemas.errors import InputError
from rowmill.schemas.part_of import InputPlace, PartOf
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.files import InputFile, Line, name_of, size_of
from rowmill.tasks.input.formats import lines, typed_of

# Files are kept whole where no part then has more than this times an even share of the bytes.
UNEVEN_MOST = 1.5
# Places remembered while rows are counted: every so many rows, so that memory is bounded.
PLACES_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Extent:
    """The rows of one part; `rows` is None where they were not counted."""

    first: InputPlace | None
    end: InputPlace | None
    rows: int | None


@dataclass(frozen=True, slots=True)
class _Place:
    file: InputFile
    offset: int
    line: int
    row: int


def divide(files: Sequence[InputFile], parts: int, max_line_bytes: int) -> list[Extent]:
    """So many parts, or as many as there are rows. Whole files go to a part where that comes out even enough, else the
    rows are counted, and parts begin in the middle of files. Raises InputError.
    """
    if parts == 1:
        return [Extent(None, None, None)]
    if (groups := _by_files(files, parts)) is not None:
        firsts = [InputPlace(file=name_of(group[0]), offset=0, line=0, digest=None) for group in groups[1:]]
        return _extents(firsts, [None] * parts)
    places, rows = _places(files, max_line_bytes)
    parts = max(1, min(parts, rows))
    chosen: list[_Place] = []
    at = 0
    for number in range(1, parts):
        # Places are as far from each other as the second is from the first.
        nearest = round(number * rows / parts / places[1].row)
        at = min(max(nearest, at + 1), len(places) - (parts - number))
        chosen.append(places[at])
    starts = [0, *(place.row for place in chosen), rows]
    counts = [end - start for start, end in pairwise(starts)]
    return _extents([_input_place(place, max_line_bytes) for place in chosen], counts)


def _extents(firsts: Sequence[InputPlace], counts: Sequence[int | None]) -> list[Extent]:
    starts, ends = [None, *firsts], [*firsts, None]
    return [Extent(first, end, rows) for first, end, rows in zip(starts, ends, counts, strict=True)]


def _by_files(files: Sequence[InputFile], parts: int) -> list[list[InputFile]] | None:
    """Files in their order, each part about as many bytes; None where that would be too uneven."""
    if len(files) < parts:
        return None
    try:
        sizes = [size_of(file) for file in files]
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(files[0]), hint="put it back") from None
    share = sum(sizes) / parts
    groups: list[list[InputFile]] = [[]]
    weights = [0]
    for at, (file, size) in enumerate(zip(files, sizes, strict=True)):
        left, missing = len(files) - at, parts - len(groups)
        ends_here = sum(weights) + size / 2 > share * len(groups)
        if groups[-1] and missing and (ends_here or left <= missing):
            groups.append([])
            weights.append(0)
        groups[-1].append(file)
        weights[-1] += size
    return groups if max(weights) <= UNEVEN_MOST * share else None


def _places(files: Sequence[InputFile], max_line_bytes: int) -> tuple[list[_Place], int]:
    """Places of rows over the whole input, evenly, and how many rows there are."""
    found: list[_Place] = []
    step, rows = 1, 0
    for file in files:
        for offset, line in _rows_of(file, max_line_bytes):
            if rows % step == 0:
                found.append(_Place(file, offset, line, rows))
                if len(found) > PLACES_MOST:
                    found, step = found[::2], 2 * step
            rows += 1
    return found, rows


def _rows_of(file: InputFile, max_line_bytes: int) -> Iterator[tuple[int, int]]:
    """Offset of each row of a file, and how many are before it. Typed files state how many rows they have."""
    if (typed := typed_of(file)) is not None:
        yield from ((row, row) for row in range(typed.rows(file)))
        return
    for line in lines(file, file.start, max_line_bytes):
        yield line.offset, line.number - 1


def _input_place(place: _Place, max_line_bytes: int) -> InputPlace:
    name = name_of(place.file)
    if not place.line:
        return InputPlace(file=name, offset=0, line=0, digest=None)
    line = next(lines(place.file, Cursor(name, place.offset, place.line), max_line_bytes))
    return InputPlace(file=name, offset=place.offset, line=place.line, digest=_digest(line))


def _digest(line: Line) -> str:
    return blake2b(line.raw, digest_size=16).hexdigest()


def refuse_moved(part: PartOf, files: Sequence[InputFile], max_line_bytes: int) -> None:
    """Raises InputError where the row at which a part begins is not the one that stood there when it was split."""
    first = part.first
    if first is None or first.digest is None:
        return
    line = next(lines(files[0], files[0].start, max_line_bytes), None)
    if line is None or _digest(line) != first.digest:
        raise InputError(
            f"another row stands where {part.title} began when the job was split: rows before it came, went or changed",
            where=f"{first.file}, row {first.line + 1}",
            hint="put the file back as it was, or split the job into another output. Rows may be appended",
        )
