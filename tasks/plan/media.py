"""Media: a column's value → what is sent of it. Reads below `media_root` alone, a folder or a place in a bucket."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import PurePosixPath
from typing import Any

from rowmill.schemas.request import Media
from rowmill.tasks.plan.media_type import HEAD_BYTES, MIME_TYPES, type_of
from rowmill.tasks.system.buckets import object_content, scheme_of

CHUNK_BYTES = 1 << 20
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
            raise MediaError(f"a path, a data: URL or an https URL is expected, not {type(one).__name__}")
        medium = _medium(one, root, room, by_reference=by_reference)
        room -= len(medium.base64 or "") * 3 // 4
        found.append(medium)
    return found


def _medium(value: str, root: str | None, room: int, *, by_reference: bool) -> Media:
    if value.startswith("data:"):
        return _from_data_url(value, room)
    if value.startswith("https://"):
        if not by_reference:
            raise MediaError(f"{value[:100]}: this model takes media by content alone: save it below media_root")
        return Media(None, url=value)
    if "://" in value:
        raise MediaError(f"{value[:100]}: only https URLs are passed on")
    ending = PurePosixPath(value).suffix.lower().removeprefix(".")
    if ending not in MIME_TYPES:
        raise MediaError(f"{value[:200]}: files of type {ending or '(no ending)'} are not supported")
    content = _read_below(value, root, room)
    mime = _checked_type(content[:HEAD_BYTES], MIME_TYPES[ending], value[:200])
    return Media(mime, base64=base64.b64encode(content).decode("ascii"))


def _from_data_url(value: str, room: int) -> Media:
    head, comma, content = value.partition(",")
    mime = head[5:].removesuffix(";base64").split(";")[0].lower()
    if not comma or not head.endswith(";base64"):
        raise MediaError("the data: URL is not base64")
    if not mime.startswith(KINDS):
        raise MediaError(f"the data: URL is of type {mime or '(none)'}: image, audio, video and PDF are supported")
    if len(content) * 3 // 4 > room:
        raise MediaError(f"the data: URL is larger than the {room:,} bytes that are left (limits.max_media_bytes)")
    try:
        decoded = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise MediaError("the data: URL is not valid base64") from None
    if not decoded:
        raise MediaError("the data: URL is empty")
    return Media(_checked_type(decoded[:HEAD_BYTES], mime, "the data: URL"), base64=content)


def _checked_type(head: bytes, named: str, shown: str) -> str:
    """The type that the content has. Raises MediaError where it is not what it is named, nor anything else we know."""
    mime = type_of(head, named)
    if mime is None:
        raise MediaError(f"{shown}: is no {named}: it begins with {head[:12]!r}")
    return mime


def _read_below(path_text: str, root: str | None, room: int) -> bytes:
    """A regular file's bytes, opened step by step below the root: no `..`, no symbolic link, no absolute path."""
    shown = path_text[:200]
    if root is None:
        raise MediaError(f"{shown}: media_root is not set, so no file is read")
    path = PurePosixPath(path_text)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise MediaError(f"{shown}: the path must lie below media_root, without '..'")
    if scheme_of(root) is not None:
        return _read_object(f"{root.rstrip('/')}/{path}", shown, room)
    folder = file = -1
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for name in path.parts[:-1]:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        # Without O_NONBLOCK a named pipe would wait for its writer.
        file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=folder)
        state = os.fstat(file)
        if not stat.S_ISREG(state.st_mode):
            raise MediaError(f"{shown}: is {_kind(state.st_mode)}, not a file")
        if state.st_size > room:
            raise MediaError(f"{shown}: {state.st_size:,} bytes, {room:,} are left (limits.max_media_bytes)")
        content = _read(file, room + 1)
    except MediaError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{shown}: cannot be read below media_root (links are not followed): {reason}") from None
    finally:
        for opened in (folder, file):
            if opened >= 0:
                os.close(opened)
    if not content:
        raise MediaError(f"{shown}: the file is empty")
    if len(content) > room:
        raise MediaError(f"{shown}: it grew beyond the {room:,} bytes that are left (limits.max_media_bytes)")
    return content


def _read_object(url: str, shown: str, room: int) -> bytes:
    """An object's bytes. Raises MediaError, InputError where the bucket does not answer: that is no row's fault."""
    try:
        content = object_content(url, room)
    except FileNotFoundError:
        raise MediaError(f"{shown}: there is no such object below media_root") from None
    if isinstance(content, int):
        raise MediaError(f"{shown}: {content:,} bytes, {room:,} are left (limits.max_media_bytes)")
    if not content:
        raise MediaError(f"{shown}: the file is empty")
    return content


def _read(file: int, most: int) -> bytes:
    chunks = []
    while most > 0 and (chunk := os.read(file, min(most, CHUNK_BYTES))):
        chunks.append(chunk)
        most -= len(chunk)
    return b"".join(chunks)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
