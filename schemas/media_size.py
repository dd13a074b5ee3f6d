"""Media size: what is found of how large a medium is, by a reader of its bytes."""

from __future__ import annotations

from dataclasses import dataclass

# How far into a file a reader looks for what stands at its head.
HEAD_BYTES = 1 << 16
BOXES_MOST = 10_000


@dataclass(slots=True)
class MediaSize:
    """Pixels (width, height), pages, seconds, and whether a film has sound; None for what was not found."""

    pixels: tuple[int, int] | None = None
    pages: int | None = None
    seconds: float | None = None
    sound: bool | None = None
