"""Model prices: at which prices a run's costs were reckoned, as `run.json` tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import msgspec
from msgspec import UNSET, Struct, UnsetType

if TYPE_CHECKING:
    from rowmill.schemas.catalogue import Model


class TierPrices(Struct, frozen=True):
    """What every token of a call costs whose input has more tokens than this; USD and credits per million tokens."""

    input_usd: str | None = None
    output_usd: str | None = None
    input_credits: str | None = None
    output_credits: str | None = None
    cached_input_usd: str | None = None
    cached_input_credits: str | None = None
    above_input_tokens: int = 0


class ModelPrices(Struct, frozen=True):
    """Prices of one model: decimal strings, USD and credits per million tokens. `unknown` where it has none: cost is
    then null. `checked` is the day on which its source was looked at.
    """

    version: str = ""
    source: str = ""
    checked: str = ""
    unknown: bool | UnsetType = UNSET
    input_usd: str | UnsetType = UNSET
    output_usd: str | UnsetType = UNSET
    input_credits: str | UnsetType = UNSET
    output_credits: str | UnsetType = UNSET
    cached_input_usd: str | UnsetType | None = UNSET
    cached_input_credits: str | UnsetType | None = UNSET
    tiers: list[TierPrices] | UnsetType = UNSET

    @classmethod
    def of(cls, model: Model) -> Self:
        """The prices of a model of the catalogue."""
        about = cls(model.price_version, model.source, model.checked.isoformat())
        if model.price_entry is None:
            return msgspec.structs.replace(about, unknown=True)
        return msgspec.convert({**msgspec.to_builtins(about), **model.price_entry.model_dump()}, cls)
