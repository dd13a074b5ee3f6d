"""Media count: the media of one request → the tokens that they are billed as, by the model's rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rowmill.schemas.catalogue import Model
from rowmill.schemas.media_form import MediaForm, form_of
from rowmill.schemas.media_tokens import NO_TOKENS, Tokens, form_at, most_of, tokens_of
from rowmill.schemas.request import Media


@dataclass(frozen=True, slots=True)
class MediaCount:
    """Characters of base64 text of some media, their tokens, the most that they can be billed as by any rule, and how
    many do not tell their size.
    """

    chars: int = 0
    tokens: Tokens = NO_TOKENS
    most: int = 0
    unmeasured: int = 0


NO_MEDIA = MediaCount()


def count_media(media: Sequence[Media], model: Model, resolution: str | None) -> MediaCount:
    """`resolution` is what the body asks for those that ask for none themselves."""
    if not media:
        return NO_MEDIA
    forms = [_form(one) for one in media]
    tokens = NO_TOKENS
    for one, form in zip(media, forms, strict=True):
        tokens = tokens.plus(
            tokens_of(
                form, model.media_rule, resolution=one.resolution or resolution, fixed=model.media_tokens,
                window=model.context_window,
            )
        )  # fmt: skip
    most = sum(most_of(form, model.context_window) for form in forms)
    chars = sum(len(one.base64) for one in media if isinstance(one.base64, str))
    return MediaCount(chars, tokens, most, sum(not form.is_measured for form in forms))


def _form(medium: Media) -> MediaForm:
    if isinstance(medium.base64, str):
        return form_of(medium.mime, medium.base64)
    return form_at(medium.url if isinstance(medium.url, str) else "", medium.mime)
