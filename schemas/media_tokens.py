"""Tokens of media, by the rules that are documented, and how far each may be off.

The gateway's pages tell of no rule. Google documents two for its models, and which of them a gateway bills by is not
known, so an interval spans both:

- Gemini 3: a budget of tokens an image, a page, a second of film, by `mediaResolution`
  (https://ai.google.dev/gemini-api/docs/media-resolution, "maximum number of tokens").
- Gemini 2: 258 tokens an image of at most 384 pixels a side, else a tile of it; 258 a page; 258 a second of film and 32
  a second of sound (https://ai.google.dev/gemini-api/docs/tokens).

The text that stands in a PDF is not billed by Google; the upper end allows for it.
"""

from __future__ import annotations

from math import ceil
from typing import Literal, NamedTuple

from rowmill.schemas.media_form import Kind, MediaForm, kind_of

MediaRule = Literal["gemini-3", "gemini-2", "fixed"]
# By mediaResolution; None where a body tells none.
IMAGE_BUDGET = {None: 1_120, "low": 280, "medium": 560, "high": 1_120, "ultra_high": 2_240}
PAGE_BUDGET = {None: 560, "low": 280, "medium": 560, "high": 1_120, "ultra_high": 1_120}
# Of one frame, and one frame a second is looked at.
FRAME_BUDGET = {None: 70, "low": 70, "medium": 70, "high": 280, "ultra_high": 280}
TILE, TILE_MOST, TILE_LEAST, SMALL = 258, 768, 256, 384
# Larger images are made as small as this before they are cut.
SIDE_MOST = 3_072
SOUND_A_SECOND, SOUND_LEAST = 32, 25
# What a written page holds.
PAGE_TEXT = 800
# A budget is the most that an image takes; its form may leave some of it unused.
BUDGET_USED = 0.9
# What a medium may be counted as beyond its bytes, where nothing of it tells more: a large picture.
MEDIA_MOST = 4_128
# How far a fixed number of tokens, which fits one kind of medium, may be from another.
FIXED_OFF = 4.0
# Bytes of a page and of a second, of media that do not tell: usual, fewest, most.
BYTES_A_PAGE = (50_000, 2_000, 2_000_000)
BYTES_A_SECOND: dict[Kind, tuple[float, float, float]] = {
    "audio": (16_000, 2_000, 176_400),
    "video": (250_000, 12_500, 2_500_000),
}
BYTES_A_TOKEN = (4.0, 1.0, 10.0)
# What is told by address alone.
_ENDINGS: dict[str, Kind] = {
    **dict.fromkeys(("png", "jpg", "jpeg", "webp", "gif", "heic", "heif", "avif"), "image"),
    **dict.fromkeys(("wav", "mp3", "aiff", "aac", "ogg", "flac", "m4a"), "audio"),
    **dict.fromkeys(("mp4", "mpeg", "mpg", "mov", "webm", "avi", "wmv", "flv", "3gp"), "video"),
    "pdf": "document",
}


class Tokens(NamedTuple):
    """Tokens of one medium or of many: what is expected, and between which ends they lie."""

    estimate: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def times(self, factor: float) -> Tokens:
        return Tokens(self.estimate * factor, self.low * factor, self.high * factor)

    def plus(self, other: Tokens) -> Tokens:
        return Tokens(self.estimate + other.estimate, self.low + other.low, self.high + other.high)


NO_TOKENS = Tokens()


def tokens_of(form: MediaForm, rule: MediaRule, *, resolution: str | None, fixed: int, window: int) -> Tokens:
    """What a medium counts for. `fixed` is the catalogue's number of tokens each, `window` the most that a call takes.

    `resolution` is what the body asks for (`resolution_of`).
    """
    if rule == "fixed":
        told = Tokens(fixed, fixed / FIXED_OFF, fixed * FIXED_OFF)
    elif form.size is None and form.kind != "image":
        # By address: nothing is known of it but that it fits.
        told = Tokens(fixed, TILE if form.kind in ("document", "other") else SOUND_A_SECOND, window)
    else:
        told = _RULES[form.kind](form, rule, resolution)
    high = min(told.high, window)
    return Tokens(min(told.estimate, high), min(told.low, high), high)


def most_of(form: MediaForm, window: int) -> int:
    """The most that a medium can count for by any documented rule, whatever its bytes; a call's worst case needs it."""
    if form.kind == "document":
        # Pages may be packed into next to nothing.
        a_page = max(PAGE_BUDGET.values()) + PAGE_TEXT
        return min(window if form.pages is None else form.pages * a_page, window)
    a_second = {"audio": SOUND_A_SECOND, "video": max(*FRAME_BUDGET.values(), TILE) + SOUND_A_SECOND}.get(form.kind)
    return MEDIA_MOST if a_second is None else min(max(MEDIA_MOST, ceil(a_second * (form.seconds or 0))), window)


def form_at(url: str, mime: str | None) -> MediaForm:
    """The form of a medium that is told by its address: its kind, where its type or its ending shows it."""
    kind = kind_of(mime)
    if kind == "other":
        kind = _ENDINGS.get(url.partition("?")[0].partition("#")[0].rpartition(".")[2].lower(), "other")
    return MediaForm(kind)


def resolution_of(told: object) -> str | None:
    """low, medium, high or ultra_high of a body's `mediaResolution`; None for what is none of them."""
    level = told.get("level") if isinstance(told, dict) else told
    name = level.lower().removeprefix("media_resolution_") if isinstance(level, str) else None
    return name if name in IMAGE_BUDGET else None


def tiles(width: int, height: int) -> int:
    """Tiles of an image by Gemini 2's rule: one where it is small, else squares of two thirds of its shorter side."""
    if width <= SMALL and height <= SMALL:
        return 1
    scale = min(1.0, SIDE_MOST / max(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    side = min(TILE_MOST, max(TILE_LEAST, int(min(width, height) / 1.5)))
    return ceil(width / side) * ceil(height / side)


def _image(form: MediaForm, rule: MediaRule, resolution: str | None) -> Tokens:
    budget, usual = IMAGE_BUDGET[resolution], IMAGE_BUDGET[None]
    if form.pixels is not None:
        least = most = tiles(*form.pixels) * TILE
    else:
        least, most = TILE, tiles(SIDE_MOST, SIDE_MOST) * TILE
    if rule == "gemini-2":
        return Tokens(least if form.pixels else 4 * TILE, least, most)
    return Tokens(budget, min(BUDGET_USED * min(budget, usual), least), max(budget, usual, most))


def _document(form: MediaForm, rule: MediaRule, resolution: str | None) -> Tokens:
    pages, fewest, most = _units(form.pages, form.size or 0, BYTES_A_PAGE)
    pages, fewest, most = max(1.0, pages), max(1.0, fewest), max(1.0, most)
    budget = TILE if rule == "gemini-2" else PAGE_BUDGET[resolution]
    highest = max(budget, PAGE_BUDGET[None]) + PAGE_TEXT
    return Tokens(budget * pages, min(TILE, BUDGET_USED * budget) * fewest, highest * most)


def _audio(form: MediaForm, rule: MediaRule, resolution: str | None) -> Tokens:
    seconds, fewest, most = _units(form.seconds, form.size or 0, BYTES_A_SECOND["audio"])
    return Tokens(*(ceil(one) for one in (SOUND_A_SECOND * seconds, SOUND_LEAST * fewest, SOUND_A_SECOND * most)))


def _video(form: MediaForm, rule: MediaRule, resolution: str | None) -> Tokens:
    seconds, fewest, most = _units(form.seconds, form.size or 0, BYTES_A_SECOND["video"])
    frame = TILE if rule == "gemini-2" else FRAME_BUDGET[resolution]
    sound = 0 if form.sound is False else SOUND_A_SECOND
    least, highest = BUDGET_USED * min(frame, FRAME_BUDGET[None]), max(frame, TILE) + sound
    # At least one frame is looked at.
    return Tokens(*(ceil(max(one, a_second)) for one, a_second in (
        ((frame + sound) * seconds, frame), (least * fewest, least), (highest * most, highest)
    )))  # fmt: skip


def _other(form: MediaForm, rule: MediaRule, resolution: str | None) -> Tokens:
    """A text, mostly: files of any other kind are read as one."""
    usual, fewest, most = ((form.size or 0) / each for each in BYTES_A_TOKEN)
    return Tokens(usual, min(usual, most), max(fewest, TILE))


def _units(known: float | None, size: int, bytes_each: tuple[float, float, float]) -> tuple[float, float, float]:
    """(pages or seconds, at least, at most): as it was found, or by bytes."""
    if known is not None:
        return known, known, known
    usual, fewest, most = bytes_each
    return size / usual, size / most, size / fewest


_RULES = {"image": _image, "document": _document, "audio": _audio, "video": _video, "other": _other}
