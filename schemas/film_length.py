"""Film length: the seconds of a film, and whether it has sound, by what its file tells of itself."""

from __future__ import annotations

import struct

from rowmill.schemas.media_size import BOXES_MOST, HEAD_BYTES, MediaSize


def avi(data: bytes, found: MediaSize) -> None:
    at = data.find(b"avih", 0, HEAD_BYTES)
    if at >= 0:
        microseconds, frames = struct.unpack_from("<I", data, at + 8)[0], struct.unpack_from("<I", data, at + 24)[0]
        found.seconds = microseconds * frames / 1e6
        found.sound = b"auds" in data[:HEAD_BYTES]


def film(data: bytes, found: MediaSize) -> None:
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


def webm(data: bytes, found: MediaSize) -> None:
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


def flv(data: bytes, found: MediaSize) -> None:
    if (at := data.find(b"duration\x00", 0, HEAD_BYTES)) >= 0:
        found.seconds = struct.unpack_from(">d", data, at + 9)[0]
        found.sound = bool(data[4] & 4)
