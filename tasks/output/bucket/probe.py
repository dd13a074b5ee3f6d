"""Probe: whether a bucket holds to the conditions of a write and lists what was written, found out before the first
call.

A server that takes `If-None-Match` and writes all the same lets two machines hold one output: one such let them pay for
758 of 1,200 prompts twice. One whose listing lags behind hides journals, whose rows would be paid for again.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass

from rowmill.tasks.output.bucket.objects import Conflict, NotSupported, Objects

NO_TAG = '"00000000000000000000000000000000"'


@dataclass(frozen=True, slots=True)
class Found:
    """What was seen: the condition that is not held to, None where all are; whether the bucket keeps versions, and
    whether its listing lags behind.
    """

    ignored: str | None
    keeps_versions: bool
    lags: bool = False


def probe(objects: Objects) -> Found:
    """Write one object of our own under every condition, and delete it. Raises OSError where that is refused."""
    folder = f".probe-{secrets.token_hex(8)}"
    name = f"{folder}/object"
    try:
        tag = objects.put(name, b"first", over=None)
        if name not in [one.name for one in objects.list(folder)]:
            return Found(None, objects.keeps_versions, lags=True)
        ignored = None
        if not _refused(objects, name, b"second", over=None):
            ignored = "If-None-Match"
        elif not _refused(objects, name, b"third", over=NO_TAG):
            ignored = "If-Match"
        else:
            # One that refuses every condition is as little use.
            objects.put(name, b"fourth", over=tag)
        return Found(ignored, objects.keeps_versions)
    except Conflict:
        return Found("If-Match", objects.keeps_versions)
    except NotSupported as error:
        return Found(str(error.strerror), objects.keeps_versions)
    finally:
        with suppress(OSError):
            objects.delete([name])


def _refused(objects: Objects, name: str, content: bytes, *, over: str | None) -> bool:
    try:
        objects.put(name, content, over=over)
    except Conflict:
        return True
    return False
