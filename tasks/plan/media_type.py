"""Media type: what a medium is, by its first bytes. Pure."""

from __future__ import annotations

from collections.abc import Callable

# What Gemini 3 reads, by file ending. Source: the pages name image, audio, video and PDF.
MIME_TYPES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "heif": "image/heif",
    "wav": "audio/wav", "mp3": "audio/mp3", "aiff": "audio/aiff", "aac": "audio/aac", "ogg": "audio/ogg",
    "flac": "audio/flac", "m4a": "audio/mp4",
    "mp4": "video/mp4", "mpeg": "video/mpeg", "mpg": "video/mpeg", "mov": "video/quicktime", "webm": "video/webm",
    "avi": "video/x-msvideo", "wmv": "video/x-ms-wmv", "flv": "video/x-flv", "3gp": "video/3gpp",
    "pdf": "application/pdf",
}  # fmt: skip
# As many bytes as tell what a medium is: a PDF may begin with some bytes of something else.
HEAD_BYTES = 1_024

_Test = Callable[[bytes], bool]


def _begins(*signatures: bytes) -> _Test:
    return lambda head: head.startswith(signatures)


def _riff(form: bytes) -> _Test:
    return lambda head: head[:4] == b"RIFF" and head[8:12] == form


def _box(*kinds: bytes) -> _Test:
    """ISO base media: the first box's kind stands behind its length."""
    return lambda head: head[4:8] in kinds


def _mpeg_audio(head: bytes) -> bool:
    return head.startswith(b"ID3") or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def _is_film(head: bytes) -> bool:
    return _box(b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")(head) and not _is_heif(head)


HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif"})

# By type; several types may share a form.
SIGNATURES: dict[str, _Test] = {
    "image/png": _begins(b"\x89PNG\r\n\x1a\n"),
    "image/jpeg": _begins(b"\xff\xd8\xff"),
    "image/webp": _riff(b"WEBP"),
    "image/gif": _begins(b"GIF87a", b"GIF89a"),
    "image/heic": _is_heif,
    "image/heif": _is_heif,
    "audio/wav": _riff(b"WAVE"),
    "audio/mp3": _mpeg_audio,
    "audio/mpeg": _mpeg_audio,
    "audio/aiff": lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"),
    "audio/aac": lambda head: _mpeg_audio(head) or head.startswith(b"ADIF") or _is_film(head),
    "audio/ogg": _begins(b"OggS"),
    "audio/flac": _begins(b"fLaC", b"ID3"),
    "audio/mp4": _is_film,
    "video/mp4": _is_film,
    "video/quicktime": _is_film,
    "video/3gpp": _is_film,
    "video/mpeg": _begins(b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"\x47"),
    "video/webm": _begins(b"\x1a\x45\xdf\xa3"),
    "video/x-msvideo": _riff(b"AVI "),
    "video/x-ms-wmv": _begins(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    "video/x-flv": _begins(b"FLV"),
    "application/pdf": lambda head: b"%PDF-" in head,
}
# The types by which a misnamed medium is known: their first bytes mean nothing else.
TELLING = (
    "image/png", "image/jpeg", "image/webp", "image/gif", "image/heic", "audio/wav", "audio/aiff", "audio/ogg",
    "audio/flac", "video/webm", "video/x-msvideo", "application/pdf",
)  # fmt: skip


def type_of(head: bytes, named: str) -> str | None:
    """The type of a medium that is named one, by its first bytes: that type, another it is of, or None for neither.

    A type whose form is not known here is believed.
    """
    test = SIGNATURES.get(named)
    if test is None or test(head):
        return named
    return next((mime for mime in TELLING if SIGNATURES[mime](head)), None)
