"""Media: a column's value → what is sent of it. Reads files below `media_root` alone, and fetches nothing."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import PurePosixPath
from typing import Any

from rowmill.schemas.request import Media

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
KINDS = ("image/", "audio/", "video/", "application/pdf")


class MediaError(ValueError):
    """A medium that cannot be sent; the message names it and says why."""


def read_media(value: Any, root: str | None, room: int, *, by_reference: bool) -> list[Media]:
    """The media of one column: a path below `root`, a data: URL, an https URL, or a list of these; none for null.

    `room` is how many bytes they may have together. Raises MediaError.
    """
    found: list[Media] = []
    for one in value if isinstance(value, list) else [value]:
        if one is None or one == "":
            continue
        if not isinstance(one, str):
            raise MediaError(f"a path, a data: URL or an https URL is expected, not {one!r}")
        medium = _medium(one, root, room, by_reference=by_reference)
        room -= len(medium.base64 or "") * 3 // 4
        found.append(medium)
    return found


def _medium(told: str, root: str | None, room: int, *, by_reference: bool) -> Media:
    if told.startswith("data:"):
        return _from_data_url(told, room)
    if told.startswith("https://"):
        if not by_reference:
            raise MediaError(f"{told[:100]}: this model takes media by content alone: save it below media_root")
        return Media(None, url=told)
    if "://" in told:
        raise MediaError(f"{told[:100]}: only https URLs are passed on")
    ending = PurePosixPath(told).suffix.lower().removeprefix(".")
    if ending not in MIME_TYPES:
        raise MediaError(f"{told}: files of type {ending or '(no ending)'} are not supported")
    return Media(MIME_TYPES[ending], base64=base64.b64encode(_read_below(told, root, room)).decode("ascii"))


def _from_data_url(told: str, room: int) -> Media:
    head, comma, content = told.partition(",")
    mime = head[5:].removesuffix(";base64").split(";")[0].lower()
    if not comma or not head.endswith(";base64"):
        raise MediaError("the data: URL is not base64")
    if not mime.startswith(KINDS):
        raise MediaError(f"the data: URL is of type {mime or '(none)'}: image, audio, video and PDF are supported")
    if len(content) * 3 // 4 > room:
        raise MediaError(f"the data: URL is larger than the {room:,} bytes that are left (limits.max_media_bytes)")
    try:
        base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise MediaError("the data: URL is not valid base64") from None
    return Media(mime, base64=content)


def _read_below(told: str, root: str | None, room: int) -> bytes:
    """A regular file's bytes, opened step by step below the root: no `..`, no symbolic link, no absolute path."""
    if root is None:
        raise MediaError(f"{told}: media_root is not set, so no file is read")
    path = PurePosixPath(told)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise MediaError(f"{told}: the path must lie below media_root, without '..'")
    folder = -1
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for name in path.parts[:-1]:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        # Without O_NONBLOCK a named pipe would wait for its writer.
        file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{told}: cannot be read below media_root (links are not followed): {reason}") from None
    finally:
        if folder >= 0:
            os.close(folder)
    with os.fdopen(file, "rb") as stream:
        state = os.fstat(stream.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise MediaError(f"{told}: is no file")
        if state.st_size > room:
            raise MediaError(f"{told}: {state.st_size:,} bytes, {room:,} are left (limits.max_media_bytes)")
        content = stream.read(room + 1)
    if not content:
        raise MediaError(f"{told}: the file is empty")
    return content
