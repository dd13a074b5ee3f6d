"""Collector: Python's looks for cycles of garbage, which stop whatever thread makes the next object."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def older_objects_left_out() -> Iterator[None]:
    """What stands already is not looked through meanwhile, and is again afterwards.

    All modules, and the caller's own data, would be looked through once for each so many rows: a tenth of a second in
    which the event loop stands still. Nothing is changed where the caller has left objects out already.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
