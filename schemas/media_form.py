"""Form of a medium: what its own bytes tell of how large it is: pixels, pages, seconds. Pure, and total: bytes that
cannot be read tell nothing, and no more than a bounded part of them is looked at.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

Kind = Literal["image", "document", "audio", "video", "other"]

# An image's size stands before its pixels; a camera's notes and a preview may stand before that.
IMAGE_HEAD_BYTES = 1 << 20
HEAD_BYTES = 1 << 16
# Most bytes of a document's packed objects that are unpacked to find its pages.
UNPACKED_MOST = 8 << 20
STREAMS_MOST = 2_000
BOXES_MOST = 10_000
SIDE_MOST, PAGES_MOST, SECONDS_MOST = 1_000_000, 100_000, 1_000_000.0


@dataclass(frozen=True, slots=True)
class MediaForm:
    """A medium's kind, its bytes (None where it is told by address), and what was found of its size, else None.

    `sound` is whether a film has a track of sound; None where that cannot be told.
    """

    kind: Kind
    size: int | None = None
    pixels: tuple[int, int] | None = None
    pages: int | None = None
    seconds: float | None = None
    sound: bool | None = None

    @property
    def is_measured(self) -> bool:
        return not (self.pixels is None and self.pages is None and self.seconds is None)


@dataclass(slots=True)
class _Found:
    """What a reader finds."""

    pixels: tuple[int, int] | None = None
    pages: int | None = None
    seconds: float | None = None
    sound: bool | None = None


def form_of(mime: str | None, content: str) -> MediaForm:
    """The form of a medium by its base64 text. Nothing is raised: what cannot be read is not told."""
    kind = kind_of(mime)
    size = max(0, len(content) * 3 // 4 - content[-2:].count("="))
    try:
        head = IMAGE_HEAD_BYTES * 4 // 3 // 4 * 4
        data = base64.b64decode(content[:head] if kind == "image" else content)
        found = _Found()
        for begins, read in READERS:
            if begins(data):
                read(data, found)
                break
    except (ValueError, IndexError, OverflowError, ZeroDivisionError, struct.error, zlib.error, binascii.Error):
        return MediaForm(kind, size)
    return MediaForm(kind, size, *_plausible(found))


def _plausible(
    found: _Found,
) -> tuple[tuple[int, int] | None, int | None, float | None, bool | None]:
    """What was found, without what no medium is."""
    pixels = found.pixels if found.pixels and all(0 < side <= SIDE_MOST for side in found.pixels) else None
    pages = found.pages if found.pages and found.pages <= PAGES_MOST else None
    seconds = found.seconds if found.seconds is not None and 0 < found.seconds <= SECONDS_MOST else None
    return pixels, pages, seconds, found.sound


def kind_of(mime: object) -> Kind:
    """What kind of medium a MIME type is; a row's own request may tell anything in its place."""
    told = (mime if isinstance(mime, str) else "").lower().partition(";")[0].strip()
    for kind in ("image", "audio", "video"):
        if told.startswith(f"{kind}/"):
            return kind
    return "document" if told in ("application/pdf", "application/x-pdf") else "other"


def _png(data: bytes, found: _Found) -> None:
    if data[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", data, 16)
        found.pixels = width, height


def _gif(data: bytes, found: _Found) -> None:
    width, height = struct.unpack_from("<HH", data, 6)
    found.pixels = width, height


def _jpeg(data: bytes, found: _Found) -> None:
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


def _webp(data: bytes, found: _Found) -> None:
    form = data[12:16]
    if form == b"VP8X":
        found.pixels = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    elif form == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        found.pixels = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif form == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        found.pixels = width & 0x3FFF, height & 0x3FFF


def _heif(data: bytes, found: _Found) -> None:
    """The largest of the sizes that stand there: a picture may be put together from tiles, beside a preview."""
    for one in re.finditer(b"ispe", data[:HEAD_BYTES]):
        width, height = struct.unpack_from(">II", data, one.end() + 4)
        if found.pixels is None or width * height > found.pixels[0] * found.pixels[1]:
            found.pixels = width, height


def _chunks(data: bytes, at: int, order: Literal["little", "big"]) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, its length) of a RIFF or IFF file's chunks."""
    for _ in range(BOXES_MOST):
        if at + 8 > len(data):
            return
        length = int.from_bytes(data[at + 4 : at + 8], order)
        yield data[at : at + 4], at + 8, length
        at += 8 + length + (length & 1)


def _wav(data: bytes, found: _Found) -> None:
    rate = 0
    for name, at, length in _chunks(data, 12, "little"):
        if name == b"fmt ":
            rate = struct.unpack_from("<I", data, at + 8)[0]
        elif name == b"data":
            # Written as a stream, the length is not known or the largest that there is.
            whole = length if 0 < length <= len(data) - at else len(data) - at
            found.seconds = whole / rate
            return


def _aiff(data: bytes, found: _Found) -> None:
    for name, at, _ in _chunks(data, 12, "big"):
        if name == b"COMM":
            frames = struct.unpack_from(">I", data, at + 2)[0]
            exponent, mantissa = struct.unpack_from(">HQ", data, at + 8)
            found.seconds = frames / (mantissa * 2.0 ** ((exponent & 0x7FFF) - 16_383 - 63))
            return


def _avi(data: bytes, found: _Found) -> None:
    at = data.find(b"avih", 0, HEAD_BYTES)
    if at >= 0:
        microseconds, frames = struct.unpack_from("<I", data, at + 8)[0], struct.unpack_from("<I", data, at + 24)[0]
        found.seconds = microseconds * frames / 1e6
        found.sound = b"auds" in data[:HEAD_BYTES]


def _flac(data: bytes, found: _Found) -> None:
    bits = int.from_bytes(data[18:26], "big")
    found.seconds = (bits & (1 << 36) - 1) / (bits >> 44)


def _ogg(data: bytes, found: _Found) -> None:
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


def _mpeg_audio(data: bytes, found: _Found) -> None:
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


def _adts(data: bytes, at: int, found: _Found) -> None:
    """Frames of equal duration: as many as there are of the mean length of the first ones."""
    rate, begin, frames = _AAC_RATES[data[at + 2] >> 2 & 15], at, 0
    while frames < AAC_FRAMES and at + 7 <= len(data) and data[at] == 0xFF:
        length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        if length < 7:
            break
        at, frames = at + length, frames + 1
    found.seconds = (len(data) - begin) / ((at - begin) / frames) * AAC_SAMPLES / rate


def _film(data: bytes, found: _Found) -> None:
    """ISO base media (MP4, MOV, M4A, 3GP): the box of the film's head, which may stand at the end."""
    at = 0
    for _ in range(BOXES_MOST):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        if length == 1:
            length = struct.unpack_from(">Q", data, at + 8)[0]
        if name == b"moov":
            head = data.find(b"mvhd", at, at + HEAD_BYTES)
            wide = data[head + 4] == 1
            scale = struct.unpack_from(">I", data, head + (24 if wide else 16))[0]
            lasts = struct.unpack_from(">Q" if wide else ">I", data, head + (28 if wide else 20))[0]
            found.seconds = lasts / scale
            found.sound = b"soun" in data[at : at + (length or len(data))]
            return
        if length < 8:
            return
        at += length


def _webm(data: bytes, found: _Found) -> None:
    """Duration and unit of the segment's information (Matroska)."""
    info = data.find(b"\x15\x49\xa9\x66", 0, HEAD_BYTES)
    head = data[info : info + 1_024] if info >= 0 else b""
    scale = 1_000_000
    if (at := head.find(b"\x2a\xd7\xb1")) >= 0:
        scale = int.from_bytes(head[at + 4 : at + 4 + (head[at + 3] & 0x7F)], "big")
    if (at := head.find(b"\x44\x89")) >= 0:
        form = ">d" if head[at + 2] & 0x7F == 8 else ">f"
        found.seconds = struct.unpack_from(form, head, at + 3)[0] * scale / 1e9
        found.sound = b"A_" in data[:HEAD_BYTES]


def _flv(data: bytes, found: _Found) -> None:
    if (at := data.find(b"duration\x00", 0, HEAD_BYTES)) >= 0:
        found.seconds = struct.unpack_from(">d", data, at + 9)[0]
        found.sound = bool(data[4] & 4)


_TREE, _PAGE = re.compile(rb"/Type\s{0,9}/Pages\b"), re.compile(rb"/Type\s{0,9}/Page\b")
_COUNT, _LINEAR = re.compile(rb"/Count\s{1,9}(\d{1,9})"), re.compile(rb"/Linearized\b[^>]{0,300}?/N\s{1,9}(\d{1,9})")
# How far the count of a node of the page tree may stand from its type: its children may stand between them.
_BEFORE, _AFTER = 2_000, HEAD_BYTES
NODES_MOST = 2_000


def _pdf(data: bytes, found: _Found) -> None:
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


def _begins(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(signatures)


def _riff(form: bytes) -> Callable[[bytes], bool]:
    return lambda data: data[:4] == b"RIFF" and data[8:12] == form


def _brand(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"avif")


# A form is known by its first bytes and read by one function; the first that fits.
READERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes, _Found], None]], ...] = (
    (_begins(b"\x89PNG\r\n\x1a\n"), _png),
    (_begins(b"\xff\xd8\xff"), _jpeg),
    (_begins(b"GIF87a", b"GIF89a"), _gif),
    (_riff(b"WEBP"), _webp),
    (_brand, _heif),
    (_riff(b"WAVE"), _wav),
    (_riff(b"AVI "), _avi),
    (lambda data: data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"), _aiff),
    (_begins(b"fLaC"), _flac),
    (_begins(b"OggS"), _ogg),
    (lambda data: data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"), _film),
    (_begins(b"\x1a\x45\xdf\xa3"), _webm),
    (_begins(b"FLV"), _flv),
    (lambda data: b"%PDF-" in data[:1_024], _pdf),
    (lambda data: data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1] & 0xE0 == 0xE0), _mpeg_audio),
)
