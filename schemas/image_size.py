"""Image size: the pixels of an image, by the head of its file."""

from __future__ import annotations

import re
import struct

from rowmill.schemas.media_size import HEAD_BYTES, MediaSize


def png(data: bytes, found: MediaSize) -> None:
    if data[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", data, 16)
        found.pixels = width, height


def gif(data: bytes, found: MediaSize) -> None:
    width, height = struct.unpack_from("<HH", data, 6)
    found.pixels = width, height


def jpeg(data: bytes, found: MediaSize) -> None:
    """Segments one after the other, up to the frame's."""
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in (0x01, *range(0xD0, 0xD9)):
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            found.pixels = width, height
            return
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]


def webp(data: bytes, found: MediaSize) -> None:
    form = data[12:16]
    if form == b"VP8X":
        found.pixels = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    elif form == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        found.pixels = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif form == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        found.pixels = width & 0x3FFF, height & 0x3FFF


def heif(data: bytes, found: MediaSize) -> None:
    """The largest of the sizes that stand there: a picture may be put together from tiles, beside a preview."""
    for one in re.finditer(b"ispe", data[:HEAD_BYTES]):
        width, height = struct.unpack_from(">II", data, one.end() + 4)
        if found.pixels is None or width * height > found.pixels[0] * found.pixels[1]:
            found.pixels = width, height
