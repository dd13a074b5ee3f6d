"""Audio length: the seconds of a recording, by what its file tells of itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

from rowmill.schemas.media_size import BOXES_MOST, HEAD_BYTES, MediaSize


def _chunks(data: bytes, at: int, order: Literal["little", "big"]) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, its length) of a RIFF or IFF file's chunks."""
    for _ in range(BOXES_MOST):
        if at + 8 > len(data):
            return
        length = int.from_bytes(data[at + 4 : at + 8], order)
        yield data[at : at + 4], at + 8, length
        at += 8 + length + (length & 1)


def wav(data: bytes, found: MediaSize) -> None:
    rate = 0
    for name, at, length in _chunks(data, 12, "little"):
        if name == b"fmt ":
            rate = struct.unpack_from("<I", data, at + 8)[0]
        elif name == b"data":
            # Written as a stream, the length is not known or the largest that there is.
            whole = length if 0 < length <= len(data) - at else len(data) - at
            found.seconds = whole / rate
            return


def aiff(data: bytes, found: MediaSize) -> None:
    for name, at, _ in _chunks(data, 12, "big"):
        if name == b"COMM":
            frames = struct.unpack_from(">I", data, at + 2)[0]
            exponent, mantissa = struct.unpack_from(">HQ", data, at + 8)
            found.seconds = frames / (mantissa * 2.0 ** ((exponent & 0x7FFF) - 16_383 - 63))
            return


def flac(data: bytes, found: MediaSize) -> None:
    bits = int.from_bytes(data[18:26], "big")
    found.seconds = (bits & (1 << 36) - 1) / (bits >> 44)


def ogg(data: bytes, found: MediaSize) -> None:
    """The last page tells how many samples there are."""
    last = data.rfind(b"OggS")
    samples = struct.unpack_from("<q", data, last + 6)[0]
    if (at := data.find(b"OpusHead", 0, HEAD_BYTES)) >= 0:
        found.seconds = (samples - struct.unpack_from("<H", data, at + 10)[0]) / 48_000
    elif (at := data.find(b"\x01vorbis", 0, HEAD_BYTES)) >= 0:
        found.seconds = samples / struct.unpack_from("<I", data, at + 12)[0]


_BITRATES = {  # kbit/s, by (MPEG version 1, layer)
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_AAC_RATES = (
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
)  # fmt: skip
AAC_SAMPLES, AAC_FRAMES = 1_024, 200


def mpeg_audio(data: bytes, found: MediaSize) -> None:
    """By the number of frames that the first one tells, else by its rate of bits."""
    at = 0
    if data[:3] == b"ID3":
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    last = at + HEAD_BYTES
    while not (data[at] == 0xFF and data[at + 1] & 0xE0 == 0xE0):
        at += 1
        if at > last:
            return
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    if layer == 4:
        _adts(data, at, found)
        return
    first = version == 3
    rate = _RATES[version][data[at + 2] >> 2 & 3]
    samples = 384 if layer == 1 else 576 if layer == 3 and not first else 1_152
    head = data[at : at + 200]
    for name, place in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        told = head.find(name)
        if told >= 0 and (name == b"VBRI" or head[told + 7] & 1):
            found.seconds = struct.unpack_from(">I", head, told + place)[0] * samples / rate
            return
    found.seconds = (len(data) - at) * 8 / (_BITRATES[first, layer][data[at + 2] >> 4] * 1_000)


def _adts(data: bytes, at: int, found: MediaSize) -> None:
    """Frames of equal duration: as many as there are of the mean length of the first ones."""
    rate, begin, frames = _AAC_RATES[data[at + 2] >> 2 & 15], at, 0
    while frames < AAC_FRAMES and at + 7 <= len(data) and data[at] == 0xFF:
        length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        if length < 7:
            break
        at, frames = at + length, frames + 1
    found.seconds = (len(data) - begin) / ((at - begin) / frames) * AAC_SAMPLES / rate
