"""An attachment is sent as what it is, or costs its own row alone."""

from __future__ import annotations

import base64
import os
import socket

import pytest

from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.job import Job
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.plan.media import MediaError, read_media
from rowmill.tasks.plan.media_type import MIME_TYPES, SIGNATURES, TELLING, type_of
from rowmill.tasks.plan.planner import Planner

ROOM = 1 << 20
HEADS = {
    "image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff\xe0", "image/webp": b"RIFF\0\0\0\0WEBP",
    "image/gif": b"GIF89a", "image/heic": b"\0\0\0\x18ftypheic", "audio/wav": b"RIFF\0\0\0\0WAVE",
    "audio/mp3": b"ID3\4", "audio/aiff": b"FORM\0\0\0\0AIFF", "audio/aac": b"\xff\xf1\x50", "audio/ogg": b"OggS\0",
    "audio/flac": b"fLaC", "audio/mp4": b"\0\0\0\x18ftypM4A ", "video/mp4": b"\0\0\0\x18ftypmp42",
    "video/mpeg": b"\0\0\1\xba", "video/quicktime": b"\0\0\0\x08wide", "video/webm": b"\x1a\x45\xdf\xa3",
    "video/x-msvideo": b"RIFF\0\0\0\0AVI LIST", "video/x-ms-wmv": bytes.fromhex("3026b2758e66cf11"),
    "video/x-flv": b"FLV\1", "video/3gpp": b"\0\0\0\x18ftyp3gp4", "application/pdf": b"%PDF-1.7", "image/heif": b"\0\0\0\x18ftypmif1",
}  # fmt: skip


def sent(root, *names) -> list[str | None]:
    return [medium.mime for medium in read_media(list(names), str(root), ROOM, by_reference=False)]


def test_every_supported_type_is_known_by_its_first_bytes():
    """Each ending that is sent has a form that is checked, and is believed where the form is right."""
    assert set(MIME_TYPES.values()) <= set(SIGNATURES)
    assert set(HEADS) == set(MIME_TYPES.values())
    for mime, head in HEADS.items():
        assert type_of(head + bytes(40), mime) == mime
        assert type_of(b"Dear Sir or Madam, ...", mime) is None
        assert type_of(b"<!DOCTYPE html><html>", mime) is None
        assert type_of(b"x", mime) is None
    assert type_of(b"anything", "image/x-unheard-of") == "image/x-unheard-of"


@pytest.mark.parametrize("named", ["image/png", "image/jpeg", "application/pdf"])
def test_a_misnamed_medium_is_sent_as_what_it_is(tmp_path, named):
    """A picture with another picture's ending, or in a data: URL of another type, goes out under its own type."""
    ending = next(ending for ending, mime in MIME_TYPES.items() if mime == named)
    for mime in TELLING:
        if mime == named:
            continue
        content = HEADS[mime] + bytes(64)
        (tmp_path / f"a.{ending}").write_bytes(content)
        url = f"data:{named};base64,{base64.b64encode(content).decode()}"
        assert sent(tmp_path, f"a.{ending}", url) == [mime, mime]


@pytest.mark.parametrize("content", [b"Dear Sir or Madam,", b"<html>not found</html>", b'{"error": 404}', b"\0" * 64])
def test_what_is_no_medium_is_not_sent_as_one(tmp_path, content):
    """Text named .png is refused with its first bytes, from a file and from a data: URL."""
    (tmp_path / "a.png").write_bytes(content)
    for value in ("a.png", f"data:image/png;base64,{base64.b64encode(content).decode()}"):
        with pytest.raises(MediaError, match=r"is no image/png: it begins with"):
            sent(tmp_path, value)


def test_what_is_no_file_costs_its_own_row(tmp_path):
    """A folder, a socket, a pipe, a device, a link, a long name: one failed row each, no traceback, no open file left."""
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/dev/zero")
    (tmp_path / "real.png").write_bytes(HEADS["image/png"])
    names = ["folder.png", "pipe.png", "link.png", "none.png", "real.png/x.png", "n" * 300 + ".png", "\udcff.png", "a\0.png", ".png", "folder.png/.."]  # fmt: skip
    with socket.socket(socket.AF_UNIX) as listener:
        place = os.getcwd()
        os.chdir(tmp_path)
        try:
            listener.bind("socket.png")
        finally:
            os.chdir(place)
        names.append("socket.png")
        if os.geteuid() == 0:
            os.mknod(tmp_path / "zero.png", 0o600 | 0o020000, os.makedev(1, 5))
            names.append("zero.png")
        else:
            (tmp_path / "secret.png").write_bytes(HEADS["image/png"])
            (tmp_path / "secret.png").chmod(0)
            names.append("secret.png")
        before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
        job = Job(model="gemini-3-pro", input="i", output="o", prompt="x", attachments=["f"], media_root=str(tmp_path))
        planner = Planner(job, builtin_catalogue()["gemini-3-pro"], sandbox=True)
        for name in names:
            planned = planner.plan(Row(0, "0", {"f": name}, "f", 1))
            assert isinstance(planned, Outcome), name
            assert (planned.status, planned.error_kind) == (Status.FAILED, "media")
        assert isinstance(planner.plan(Row(0, "0", {"f": "real.png"}, "f", 1)), Request)
        if before:
            assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "part",
    [
        {"inline_data": {"mime_type": 7, "data": "AAAA"}}, {"inline_data": {"mime_type": "image/png", "data": "é!"}},
        {"fileData": {"fileUri": ["x"]}}, {"inlineData": {"mimeType": None, "data": 9}},
        {"inline_data": {"mime_type": "image/png", "data": "AAAA"}, "mediaResolution": {"level": 3}},
    ],
)  # fmt: skip
def test_media_of_a_rows_own_request_are_counted_whatever_their_form(part):
    """One medium each, with an interval and a bound; nothing of another type raises."""
    row = {"request": {"contents": [{"role": "user", "parts": [part, {"text": "What is it?"}]}]}}
    job = Job(model="gemini-3-flash", input="i", output="o")
    planned = Planner(job, builtin_catalogue()["gemini-3-flash"], sandbox=True).plan(Row(0, "0", row, "f", 1))
    assert isinstance(planned, Request), planned
    assert (planned.media, planned.media_unmeasured) == (1, 1)
    assert 0 <= planned.media_tokens.low <= planned.media_tokens.estimate <= planned.media_tokens.high
    assert planned.media_most > 0
