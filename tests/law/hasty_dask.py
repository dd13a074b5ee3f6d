"""Hasty on Dask: the same, with Dask imported once too."""

from __future__ import annotations

from tests.law import hasty
from tests.law.hasty import main

__all__ = ["main", "prepare"]


def prepare() -> None:
    hasty.prepare()
    hasty.import_all(("distributed", "rowmill.tasks.cluster.worker", "rowmill.tasks.cluster.backends.dask"))
