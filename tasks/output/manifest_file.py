"""Manifest file: run.json of an output, read: of this version or an older one, or damage that is told by its key."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from rowmill.schemas.errors import DamageError, OutputError
from rowmill.schemas.manifest import MANIFEST_VERSION, Manifest
from rowmill.tasks.output.layout import MANIFEST
from rowmill.tasks.system.durable import hint_of


def read_manifest(root: Path) -> Manifest | None:
    """run.json of an output, of this version or an older one; None where there is none.

    Raises OutputError where it may not be read; DamageError where it is no JSON, or holds another kind of value than a
    manifest does.
    """
    path = root / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(
            f"cannot be read: {error.strerror}", where=str(path), hint=hint_of(error) or "look after the disk"
        ) from None
    return manifest_in(content, str(path))


def manifest_in(content: bytes, where: str) -> Manifest:
    """A manifest from the bytes of run.json. Raises DamageError as `read_manifest`."""
    told = None
    try:
        told = json.loads(content)
        return msgspec.convert(told, Manifest)
    except ValueError as error:
        version = told.get("version") if isinstance(told, dict) else None
        if isinstance(version, int) and version > MANIFEST_VERSION:
            what = f"a newer version of rowmill wrote it: {error}"
            raise DamageError(what, where=where, hint="update rowmill") from None
        raise _damaged(where, f"is no manifest: {error}") from None


def _damaged(where: str, what: str) -> DamageError:
    return DamageError(what, where=where, hint="delete it: it is made again from the parts and the journal")


def manifest_of(root: Path) -> Manifest:
    """run.json of an output. Raises OutputError where there is no run, DamageError."""
    manifest = read_manifest(root) if root.is_dir() else None
    if manifest is None:
        raise no_run(str(root))
    return manifest


def no_run(where: str) -> OutputError:
    """What a folder without a run is to who asks for one."""
    return OutputError("there is no run here (no run.json)", where=where, hint="name the output folder of a run")
