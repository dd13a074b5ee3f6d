"""Form of a medium: what its own bytes tell of how large it is: pixels, pages, seconds. Pure, and total: bytes that
cannot be read tell nothing, and no more than a bounded part of them is looked at.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rowmill.schemas import audio_length, document_pages, film_length, image_size
from rowmill.schemas.media_size import MediaSize

Kind = Literal["image", "document", "audio", "video", "other"]

# An image's size stands before its pixels; a camera's notes and a preview may stand before that.
IMAGE_HEAD_BYTES = 1 << 20
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


def form_of(mime: str | None, content: str) -> MediaForm:
    """The form of a medium by its base64 text. Nothing is raised: what cannot be read is not told."""
    kind = kind_of(mime)
    size = max(0, len(content) * 3 // 4 - content[-2:].count("="))
    try:
        head = IMAGE_HEAD_BYTES * 4 // 3 // 4 * 4
        data = base64.b64decode(content[:head] if kind == "image" else content)
        found = MediaSize()
        for begins, read in READERS:
            if begins(data):
                read(data, found)
                break
    except (ValueError, IndexError, OverflowError, ZeroDivisionError, struct.error, zlib.error, binascii.Error):
        return MediaForm(kind, size)
    return MediaForm(kind, size, *_plausible(found))


def _plausible(
    found: MediaSize,
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


def _begins(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(signatures)


def _riff(form: bytes) -> Callable[[bytes], bool]:
    return lambda data: data[:4] == b"RIFF" and data[8:12] == form


def _brand(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"avif")


# A form is known by its first bytes and read by one function; the first that fits.
READERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes, MediaSize], None]], ...] = (
    (_begins(b"\x89PNG\r\n\x1a\n"), image_size.png),
    (_begins(b"\xff\xd8\xff"), image_size.jpeg),
    (_begins(b"GIF87a", b"GIF89a"), image_size.gif),
    (_riff(b"WEBP"), image_size.webp),
    (_brand, image_size.heif),
    (_riff(b"WAVE"), audio_length.wav),
    (_riff(b"AVI "), film_length.avi),
    (lambda data: data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"), audio_length.aiff),
    (_begins(b"fLaC"), audio_length.flac),
    (_begins(b"OggS"), audio_length.ogg),
    (lambda data: data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"), film_length.film),
    (_begins(b"\x1a\x45\xdf\xa3"), film_length.webm),
    (_begins(b"FLV"), film_length.flv),
    (lambda data: b"%PDF-" in data[:1_024], document_pages.pdf),
    (lambda data: data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1] & 0xE0 == 0xE0), audio_length.mpeg_audio),
)
