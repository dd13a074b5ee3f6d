"""Chance: numbers that look random and are a pure function of what they are drawn for."""

from __future__ import annotations

from hashlib import blake2b


def fraction(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    digest = blake2b("\x1f".join(map(str, parts)).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def between(low: int, high: int, *parts: object) -> int:
    """A whole number in [low, high] that depends on the parts alone."""
    return low + int(fraction(*parts) * (high - low + 1))
