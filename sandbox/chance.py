"""Chance: numbers that look random and are a pure function of what they are drawn for."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from hashlib import blake2b

MARKER = re.compile(r"\[\[fault:([a-z0-9_]+)(?:\*(\d+))?\]\]")


def fraction(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    digest = blake2b("\x1f".join(map(str, parts)).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def between(low: int, high: int, *parts: object) -> int:
    """A whole number in [low, high] that depends on the parts alone."""
    return low + int(fraction(*parts) * (high - low + 1))


def drawn_fault(text: str, seen: int, seed: int, *, chances: Mapping[str, float], kinds: Container[str]) -> str | None:
    """A fault of one of these kinds: that of the text's own marker, else one by chance."""
    for kind, times in MARKER.findall(text):
        if kind in kinds and (not times or seen < int(times)):
            return str(kind)
    drawn = fraction(seed, text, seen, "fault")
    for kind, chance in chances.items():
        if kind not in kinds:
            continue
        if drawn < chance:
            return kind
        drawn -= chance
    return None
