"""What a medium's own bytes tell of its size, and what it counts for."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowmill.schemas.media_form import MediaForm, form_of
from rowmill.schemas.media_tokens import MEDIA_MOST, form_at, most_of, resolution_of, tiles, tokens_of

WINDOW = 1_000_000


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + box(b"IHDR", struct.pack(">II", width, height))[:20] + bytes(9)


def jpeg(width: int, height: int, before: int = 0) -> bytes:
    """With a camera's notes before the frame, and a preview in them."""
    notes = b"\xff\xd8\xff\xc0\0\x11\x08\0\x10\0\x10" + bytes(before)
    frame = b"\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width) + bytes(10)
    return b"\xff\xd8" + b"\xff\xe1" + struct.pack(">H", len(notes) + 2) + notes + b"\xff\xff" + frame


def wav(seconds: int, *, streamed: bool = False) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(2)
        written.setsampwidth(2)
        written.setframerate(8_000)
        written.writeframes(bytes(4 * 8_000 * seconds))
    content = file.getvalue()
    return content[:40] + b"\xff\xff\xff\xff" + content[44:] if streamed else content


def film(seconds: int, *, sound: bool = True) -> bytes:
    """Its head stands at the end, as cameras write it."""
    head = box(b"mvhd", bytes(12) + struct.pack(">II", 1_000, seconds * 1_000))
    track = box(b"hdlr", bytes(8) + (b"soun" if sound else b"vide"))
    return box(b"ftyp", b"mp42" + bytes(8)) + box(b"mdat", bytes(5_000)) + box(b"moov", head + track)


def pdf(pages: int, *, packed: bool = False, root: bool = True) -> bytes:
    tree = f"<< /Type /Pages /Kids [{'9 0 R ' * pages}] /Count {pages} >>" if root else ""
    objects = " ".join([tree, "<< /Type /Outlines /Count 99 >>", *["<< /Type/Page /Parent 2 0 R >>"] * pages])
    if not packed:
        return f"%PDF-1.4\n1 0 obj {objects} endobj".encode()
    stream = zlib.compress(objects.encode())
    return b"%PDF-1.5\n1 0 obj << /Type /ObjStm /Filter /FlateDecode >> stream\r\n" + stream + b"\nendstream endobj"


def mp3(frames: int) -> bytes:
    """With a tag before it and the number of frames in its first one."""
    head = b"\xff\xfb\x90\0" + bytes(32) + b"Xing" + struct.pack(">II", 1, frames)
    return b"ID3\4\0\0\0\0\1\0" + bytes(128) + head + bytes(1_000)


FORMS = {
    "png": ("image/png", png(640, 480), (640, 480)),
    "jpeg": ("image/jpeg", jpeg(3_000, 2_000, 50_000), (3_000, 2_000)),
    "gif": ("image/gif", b"GIF89a" + struct.pack("<HH", 20, 30) + bytes(9), (20, 30)),
    "webp": ("image/webp", b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x1f\3\0\x57\2\0", (800, 600)),
    "heic": ("image/heic", b"\0\0\0\x18ftypheic" + box(b"ispe", bytes(4) + struct.pack(">II", 512, 512))
             + box(b"ispe", bytes(4) + struct.pack(">II", 4_032, 3_024)), (4_032, 3_024)),
    "wav": ("audio/wav", wav(7), 7.0),
    "wav as a stream": ("audio/wav", wav(3, streamed=True), 3.0),
    "aiff": ("audio/aiff", b"FORM\0\0\0\0AIFF" + box(b"x", b"")[:0] + b"COMM\0\0\0\x12\0\1" + struct.pack(">IH", 88_200, 16)
             + struct.pack(">HQ", 16_383 + 15, 44_100 << 48), 2.0),
    "flac": ("audio/flac", b"fLaC\0\0\0\x22" + bytes(10) + ((44_100 << 44) | 441_000).to_bytes(8, "big"), 10.0),
    "opus": ("audio/ogg", b"OggS" + bytes(24) + b"OpusHead\1\2" + struct.pack("<H", 312) + bytes(50)
             + b"OggS\0\4" + struct.pack("<q", 48_000 * 4 + 312), 4.0),
    "mp3": ("audio/mp3", mp3(1_000), 1_000 * 1_152 / 44_100),
    "mp3 of one rate": ("audio/mp3", b"\xff\xfb\x90\0" + bytes(15_996), 1.0),
    "mp4": ("video/mp4", film(12), 12.0),
    "m4a": ("audio/mp4", film(5), 5.0),
    "webm": ("video/webm", b"\x1a\x45\xdf\xa3\x15\x49\xa9\x66\x90\x2a\xd7\xb1\x83\x0f\x42\x40\x44\x89\x88"
             + struct.pack(">d", 2_500.0), 2.5),
    "avi": ("video/x-msvideo", b"RIFF\0\0\0\0AVI avih\0\0\0\0" + struct.pack("<IIIII", 40_000, 0, 0, 0, 50), 2.0),
    "pdf": ("application/pdf", pdf(12), 12),
    "pdf, packed": ("application/pdf", pdf(7, packed=True), 7),
    "pdf without its tree": ("application/pdf", pdf(3, root=False), 3),
    "pdf for the web": ("application/pdf", b"%PDF-1.4\n1 0 obj << /Linearized 1 /L 9 /N 41 /T 9 >>", 41),
}  # fmt: skip


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def size_of(form: MediaForm) -> object:
    return form.pixels or form.pages or form.seconds


@pytest.mark.parametrize("name", FORMS)
def test_the_size_of_a_medium_is_read(name):
    """Pixels, pages and seconds of every form that tells them, whatever stands before and after; cut short, nothing."""
    mime, content, size = FORMS[name]
    assert size_of(form_of(mime, encoded(content))) == (pytest.approx(size) if isinstance(size, float) else size)
    assert form_of(mime, encoded(content)).size == len(content)
    for length in range(0, min(len(content), 200), 7):
        form_of(mime, encoded(content[:length]))


@given(
    st.sampled_from([content for _, content, _ in FORMS.values()]),
    st.binary(max_size=60),
    st.integers(0, 300),
    st.sampled_from(["image/png", "audio/mp3", "video/mp4", "application/pdf", "text/plain", None]),
)
@settings(max_examples=200, deadline=None)
def test_no_bytes_raise_anything(content, damage, at, mime):
    """Whatever was written over a medium, its form is told or not; its count is finite and its ends in order."""
    form = form_of(mime, encoded(content[:at] + damage + content[at + len(damage) :])[:20_000])
    for rule in ("gemini-3", "gemini-2", "fixed"):
        told = tokens_of(form, rule, resolution=None, fixed=1_120, window=WINDOW)
        assert 0 <= told.low <= told.estimate <= told.high <= WINDOW
    assert 0 < most_of(form, WINDOW) <= WINDOW


@pytest.mark.parametrize(
    "content",
    [
        b"%PDF-1.7 " + b"/ObjStm stream\n" * 100_000,
        b"%PDF-1.7 " + (b"/ObjStm stream\n" + zlib.compress(bytes(20 << 20)) + b"endstream") * 3,
    ],
    ids=["streams without an end", "a bomb"],
)
def test_a_hostile_document_costs_a_bounded_look(content, monkeypatch):
    """Packed objects are unpacked up to a bound in all, and each stretch of the file is looked at once."""
    unpacked = []

    class Counted:
        def decompress(self, data: bytes, most: int) -> bytes:
            text = zlib_decompressobj().decompress(data, most)
            unpacked.append(len(text))
            return text

    zlib_decompressobj = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counted)
    assert not form_of("application/pdf", encoded(content)).is_measured
    assert sum(unpacked) <= 8 << 20
    assert len(unpacked) <= 3


def test_an_image_counts_by_its_tiles_or_its_budget():
    """Gemini 2's documented examples; Gemini 3's budgets by resolution; an interval holds the other rule's count too."""
    assert [tiles(*size) for size in ((384, 384), (10, 10), (960, 540), (1_000, 1_000), (3_072, 3_072))] == [
        1, 1, 6, 4, 16
    ]  # fmt: skip
    image = form_of("image/png", encoded(png(960, 540)))
    for resolution, budget in ((None, 1_120), ("low", 280), ("medium", 560), ("high", 1_120), ("ultra_high", 2_240)):
        told = tokens_of(image, "gemini-3", resolution=resolution, fixed=9, window=WINDOW)
        assert told.estimate == budget
        assert told.low <= 6 * 258 <= told.high
        assert told.low <= 1_120 <= told.high
    assert tokens_of(image, "gemini-2", resolution=None, fixed=9, window=WINDOW) == (1_548, 1_548, 1_548)
    assert tokens_of(image, "fixed", resolution="low", fixed=100, window=WINDOW) == (100, 25, 400)


def test_pages_and_seconds_count_as_documented():
    """560 tokens a page, 32 a second of sound, 70 and sound a second of film; without sound where there is none."""
    counts = {
        name: tokens_of(form_of(*FORMS[name][:1], encoded(FORMS[name][1])), "gemini-3", resolution=None, fixed=9,
                        window=WINDOW) for name in ("pdf", "wav", "mp4")
    }  # fmt: skip
    assert {name: told.estimate for name, told in counts.items()} == {"pdf": 12 * 560, "wav": 7 * 32, "mp4": 12 * 102}
    silent = form_of("video/mp4", encoded(film(10, sound=False)))
    assert tokens_of(silent, "gemini-3", resolution="high", fixed=9, window=WINDOW).estimate == 2_800


def test_what_is_not_known_has_a_wide_interval():
    """A damaged document by its bytes, an address by what fits: wider than an order of magnitude, and bounded."""
    damaged = form_of("application/pdf", encoded(b"%PDF-1.7" + bytes(500_000)))
    told = tokens_of(damaged, "gemini-3", resolution=None, fixed=9, window=WINDOW)
    assert told.high > 10 * told.low
    assert most_of(damaged, WINDOW) == WINDOW
    address = form_at("https://example.org/a/report.PDF?page=3", None)
    assert (address.kind, address.is_measured) == ("document", False)
    assert tokens_of(address, "gemini-3", resolution=None, fixed=1_120, window=WINDOW) == (1_120, 258, WINDOW)
    assert (
        tokens_of(form_at("https://e.org/x.png", None), "gemini-3", resolution=None, fixed=9, window=WINDOW).high
        < 5_000
    )
    assert form_at("https://example.org/", "audio/wav").kind == "audio"


def test_the_worst_case_knows_of_many_pages_in_few_bytes():
    """Two thousand pages take ten kilobytes and more than a million tokens: the most is by pages, not by bytes."""
    content = pdf(2_000, packed=True)
    assert len(content) < 10_000
    assert most_of(form_of("application/pdf", encoded(content)), 10**9) >= 2_000 * 1_120
    assert most_of(form_of("image/png", encoded(png(9, 9))), WINDOW) == MEDIA_MOST


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("MEDIA_RESOLUTION_LOW", "low"), ({"level": "MEDIA_RESOLUTION_ULTRA_HIGH"}, "ultra_high"), ("high", "high"),
        ("MEDIA_RESOLUTION_UNSPECIFIED", None), (None, None), (7, None), ({"level": []}, None), ([], None),
    ],
)  # fmt: skip
def test_a_resolution_is_read_in_both_its_forms(told, found):
    """Of a request, and of one part; anything else is the usual one."""
    assert resolution_of(told) == found
