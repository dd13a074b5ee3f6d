"""Files are published whole, or leave nothing behind."""

from __future__ import annotations

import errno
import os

import pytest

from rowmill.schemas.errors import StorageError
from rowmill.tasks.system.durable import published, write_hint


def test_what_ends_in_the_middle_leaves_nothing(tmp_path):
    """Whatever ends the writing, a file of the same name stands as it was, and no half of another beside it."""
    path = tmp_path / "told.txt"
    path.write_text("before")
    with pytest.raises(LookupError), published(path, "it") as file:
        file.write(b"half")
        raise LookupError
    assert [one.name for one in tmp_path.iterdir()] == ["told.txt"]
    assert path.read_text() == "before"


def test_a_disk_that_refuses_even_to_delete_is_told(tmp_path, monkeypatch):
    """A read-only disk refuses the write and the tidying up: it is a StorageError with what was refused."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "unlink", refuse)
    with (
        pytest.raises(StorageError, match="it cannot be written: Read-only file system"),
        published(tmp_path / "a", "it"),
    ):
        pass


@pytest.mark.parametrize(("code", "hint"), [(errno.EMFILE, "open files"), (errno.ENFILE, "open files")])
def test_too_few_file_descriptors_are_no_full_disk(code, hint):
    """A limit of open files is told as such: freeing disk space would not help."""
    told = write_hint(OSError(code, os.strerror(code)))
    assert hint in told
    assert "disk space" not in told
