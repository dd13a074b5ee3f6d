"""Line batch: lines of a file that are counted, cut and hashed together; each by itself only where it is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol, Self

from rowmill.tasks.input.files import Line

# Lines that stand together, fewer where they are long.
AT_ONCE, AT_ONCE_BYTES = 512, 4 * 2**20


class LineBatch(Protocol):
    """Some lines of one file, at least one, in their order. `offset` is the cursor of the first, `before` the number of
    lines before it in the file.
    """

    @property
    def offset(self) -> int: ...

    @property
    def before(self) -> int: ...

    def __len__(self) -> int: ...

    def each(self) -> Iterator[Line]:
        """The lines, each by itself."""
        ...

    def cut(self, rows: int) -> tuple[Self, Self]:
        """The first so many lines, and the others; at least one is in each."""
        ...

    def size(self) -> int:
        """Bytes of all lines."""
        ...

    def content(self) -> bytes:
        """What a shard's digest is made of: each line's length (8 bytes), its bytes, its context."""
        ...


class _Lengths(dict[int, bytes]):
    """Lengths as eight bytes, the usual ones made once."""

    def __missing__(self, length: int) -> bytes:
        told = length.to_bytes(8, "little")
        if length < 1 << 16:
            self[length] = told
        return told


_LENGTHS = _Lengths()


@dataclass(frozen=True, slots=True)
class RawLines:
    """Lines of a text as they stand in it, one after the other, with their line feeds."""

    offset: int
    before: int
    raws: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.raws)

    def each(self) -> Iterator[Line]:
        offset = self.offset
        for number, raw in enumerate(self.raws, self.before + 1):
            yield Line(offset, number, raw)
            offset += len(raw)

    def cut(self, rows: int) -> tuple[RawLines, RawLines]:
        head, tail = self.raws[:rows], self.raws[rows:]
        return RawLines(self.offset, self.before, head), RawLines(
            self.offset + sum(map(len, head)), self.before + rows, tail
        )

    def size(self) -> int:
        return sum(map(len, self.raws))

    def content(self) -> bytes:
        lengths = map(_LENGTHS.__getitem__, map(len, self.raws))
        return b"".join(chain.from_iterable(zip(lengths, self.raws, strict=True)))


@dataclass(frozen=True, slots=True)
class ReadLines:
    """Lines that a reader has taken apart."""

    lines: Sequence[Line]

    @property
    def offset(self) -> int:
        return self.lines[0].offset

    @property
    def before(self) -> int:
        return self.lines[0].number - 1

    def __len__(self) -> int:
        return len(self.lines)

    def each(self) -> Iterator[Line]:
        return iter(self.lines)

    def cut(self, rows: int) -> tuple[ReadLines, ReadLines]:
        return ReadLines(self.lines[:rows]), ReadLines(self.lines[rows:])

    def size(self) -> int:
        return sum(len(line.raw) for line in self.lines)

    def content(self) -> bytes:
        told = ((_LENGTHS[len(line.raw)], line.raw, line.context) for line in self.lines)
        return b"".join(chain.from_iterable(told))


def together(lines: Iterable[Line]) -> Iterator[ReadLines]:
    """Lines, AT_ONCE at a time; long ones one by one."""
    lines = iter(lines)
    while some := list(islice(lines, 1)):
        if len(some[0].raw) * AT_ONCE <= AT_ONCE_BYTES:
            some += islice(lines, AT_ONCE - 1)
        yield ReadLines(some)
