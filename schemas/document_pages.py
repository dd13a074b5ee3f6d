"""Document pages: how many pages a PDF has, as its page tree tells, in packed objects too."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from itertools import islice

from rowmill.schemas.media_size import HEAD_BYTES, MediaSize

# Most bytes of a document's packed objects that are unpacked to find its pages.
UNPACKED_MOST = 8 << 20
STREAMS_MOST = 2_000


_TREE, _PAGE = re.compile(rb"/Type\s{0,9}/Pages\b"), re.compile(rb"/Type\s{0,9}/Page\b")
_COUNT, _LINEAR = re.compile(rb"/Count\s{1,9}(\d{1,9})"), re.compile(rb"/Linearized\b[^>]{0,300}?/N\s{1,9}(\d{1,9})")
# How far the count of a node of the page tree may stand from its type: its children may stand between them.
_BEFORE, _AFTER = 2_000, HEAD_BYTES
NODES_MOST = 2_000


def pdf(data: bytes, found: MediaSize) -> None:
    """Pages as the root of their tree counts them, else as many as are met; in packed objects too."""
    if (linear := _LINEAR.search(data, 0, HEAD_BYTES)) is not None:
        found.pages = int(linear[1])
        return
    counted, met = _pages_in(data)
    for text in _unpacked(data):
        more, others = _pages_in(text)
        counted, met = max(counted, more), met + others
    found.pages = counted or met or None


def _pages_in(text: bytes) -> tuple[int, int]:
    """(the largest count that stands beside a node of the page tree, pages met)."""
    counted = 0
    for node in islice(_TREE.finditer(text), NODES_MOST):
        before = text[max(0, node.start() - _BEFORE) : node.start()]
        before = before[max(before.rfind(b"/Type"), before.rfind(b"obj"), 0) :]
        after = text[node.end() : node.end() + _AFTER]
        ends = [place for mark in (b"/Type", b"endobj") if (place := after.find(mark)) >= 0]
        after = after[: min(ends, default=None)]
        counted = max([counted, *(int(one[1]) for part in (before, after) for one in _COUNT.finditer(part))])
    return counted, sum(1 for _ in _PAGE.finditer(text))


def _unpacked(data: bytes) -> Iterator[bytes]:
    """The texts of the packed objects."""
    room, end = UNPACKED_MOST, 0
    for packed in islice(re.finditer(rb"/ObjStm\b", data), STREAMS_MOST):
        begin = data.find(b"stream", packed.end(), packed.end() + _BEFORE)
        if begin < end or room <= 0:
            continue
        begin += 8 if data[begin + 6 : begin + 8] == b"\r\n" else 7
        end = data.find(b"endstream", begin)
        if end < 0:
            return
        try:
            text = zlib.decompressobj().decompress(data[begin:end], room)
        except zlib.error:
            # Encrypted, or packed otherwise.
            continue
        room -= len(text)
        yield text
