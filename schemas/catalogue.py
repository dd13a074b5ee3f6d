"""The catalogue: which models there are, how they are spoken to, what they cost and what they forbid."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rowmill.schemas.errors import CatalogueError
from rowmill.schemas.media_tokens import MediaRule
from rowmill.schemas.price import Price, Rates, per_token

Protocol = Literal["chat-completions", "generate-content"]
# none: a server of your own that asks for no key.
Auth = Literal["bearer", "x-goog-api-key", "none"]
ErrorMeaning = Literal["spend_limit", "rate_limit", "upstream", "auth", "model_not_found", "row"]
ErrorName = Annotated[str, Field(pattern=r"^[1-5][0-9][0-9]:.+$")]

# What Gemini counts for an image at its usual resolution; other media may be far from it.
MEDIA_TOKENS = 1_120
# No model reads or writes more in one call.
TOKENS_MOST = 10**9
GEMINI_PATH = "/v1/gemini/v1beta/models"
FORM = "`rowmill models --init FILE` writes a catalogue with every key explained"


class RatesEntry(BaseModel):
    """Prices per million tokens as exact decimal strings. Cached input costs what input costs, unless it says so."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    input_usd: str
    output_usd: str
    input_credits: str = "0"
    output_credits: str = "0"
    cached_input_usd: str | None = None
    cached_input_credits: str | None = None


class TierEntry(RatesEntry):
    """What every token of a call costs whose input has more tokens than this."""

    above_input_tokens: int = Field(gt=0, le=TOKENS_MOST)


class PriceEntry(RatesEntry):
    """The rates of a model, and those of calls with long inputs."""

    tiers: list[TierEntry] = []


class ModelEntry(BaseModel):
    """One `[models.NAME]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    protocol: Protocol
    path: str = Field(min_length=1)
    wire_name: str | None = None
    base_url: str | None = None
    context_window: int = Field(gt=0, le=TOKENS_MOST)
    max_output_tokens: int = Field(gt=0, le=TOKENS_MOST)
    native_schema: bool
    native_schema_with_tools: bool = False
    search_with_functions: bool = False
    media_by_reference: bool = False
    include_thoughts_field: bool = False
    media_tokens: int = Field(MEDIA_TOKENS, ge=0, le=TOKENS_MOST)
    media_rule: MediaRule = "fixed"
    auth: Auth = "bearer"
    thinking_levels: list[str] = []
    version: str
    source: str
    checked: date
    price: PriceEntry | None = None
    errors: dict[ErrorName, ErrorMeaning] = {}


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the pipeline needs it. `price` is None where it is unknown: cost is then null, never 0.

    `errors` are the codes of its own gateway: "status:code-or-type" → what an error of that name means.
    """

    name: str
    wire_name: str
    protocol: Protocol
    path: str
    base_url: str | None
    context_window: int
    max_output_tokens: int
    native_schema: bool
    native_schema_with_tools: bool
    search_with_functions: bool
    media_by_reference: bool
    include_thoughts_field: bool
    media_tokens: int
    media_rule: MediaRule
    auth: Auth
    thinking_levels: tuple[str, ...]
    price: Price | None
    price_entry: PriceEntry | None
    price_version: str
    source: str
    checked: date
    errors: Mapping[str, ErrorMeaning] = field(default_factory=dict)


def parse_catalogue(text: str, where: str) -> dict[str, Model]:
    """TOML text → models by name. Raises CatalogueError naming the file, and every model and key that is wrong."""
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise CatalogueError(f"not valid TOML: {error}", where=where, hint="correct it there") from None
    wrong = [f"unknown table {name!r}: models stand under [models.NAME]" for name in sorted(set(tables) - {"models"})]
    entries: dict[str, ModelEntry] = {}
    models = tables.get("models", {})
    if not isinstance(models, dict):
        models, wrong = {}, [*wrong, "models is no table: models stand under [models.NAME]"]
    for name, table in models.items():
        try:
            entries[name] = ModelEntry.model_validate(table)
        except ValidationError as error:
            wrong += [f"models.{name}.{_explain(one)}" for one in error.errors(include_url=False)]
    found: dict[str, Model] = {}
    for name, entry in entries.items():
        try:
            found[name] = _model(name, entry, where)
        except CatalogueError as error:
            wrong.append(f"{error.where.removeprefix(f'{where}: ')}: {error.what}")
    if wrong:
        raise CatalogueError("; ".join(wrong), where=where, hint=FORM)
    return found


def _explain(error: Any) -> str:
    """What is wrong with one key, and the nearest known one where it was misspelt."""
    key = ".".join(str(step) for step in error["loc"]) or "(table)"
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "extra_forbidden":
        section: type[BaseModel] = PriceEntry if error["loc"][0] == "price" else ModelEntry
        if "tiers" in error["loc"]:
            section = TierEntry
        near = get_close_matches(str(error["loc"][-1]), section.model_fields, 1)
        return f"{key} is no key" + (f", did you mean {near[0]!r}?" if near else "")
    said = str(error["msg"])
    return f"{key}: {said[0].lower()}{said[1:]}"


def _model(name: str, entry: ModelEntry, where: str) -> Model:
    place = f"{where}: models.{name}"
    price = None if entry.price is None else _price(entry.price, f"{place}.price")
    return Model(
        name=name,
        wire_name=entry.wire_name or name,
        protocol=entry.protocol,
        path=entry.path,
        base_url=entry.base_url,
        context_window=entry.context_window,
        max_output_tokens=entry.max_output_tokens,
        native_schema=entry.native_schema,
        native_schema_with_tools=entry.native_schema_with_tools,
        search_with_functions=entry.search_with_functions,
        media_by_reference=entry.media_by_reference,
        include_thoughts_field=entry.include_thoughts_field,
        media_tokens=entry.media_tokens,
        media_rule=entry.media_rule,
        auth=entry.auth,
        thinking_levels=tuple(entry.thinking_levels),
        price=price,
        price_entry=entry.price,
        price_version=entry.version,
        source=entry.source,
        checked=entry.checked,
        errors=entry.errors,
    )


def _price(entry: PriceEntry, place: str) -> Price:
    tiers = sorted(entry.tiers, key=lambda tier: tier.above_input_tokens)
    if len({tier.above_input_tokens for tier in tiers}) < len(tiers):
        raise CatalogueError("two tiers begin at one number of tokens", where=f"{place}.tiers", hint=FORM)
    return Price(
        _rates(entry, place),
        tuple((tier.above_input_tokens, _rates(tier, f"{place}.tiers[{n}]")) for n, tier in enumerate(tiers)),
    )


def _rates(entry: RatesEntry, place: str) -> Rates:
    def told(name: str, otherwise: str = "0") -> int:
        return per_token(getattr(entry, name) or otherwise, f"{place}.{name}")

    return Rates(
        input_usd=told("input_usd"),
        output_usd=told("output_usd"),
        input_credits=told("input_credits"),
        output_credits=told("output_credits"),
        cached_input_usd=told("cached_input_usd", entry.input_usd),
        cached_input_credits=told("cached_input_credits", entry.input_credits),
    )


def in_sandbox(model: Model) -> Model:
    """The model as a sandbox serves it: at the sandbox's own address, whatever server it has otherwise."""
    paths = {"chat-completions": "/v1/chat/completions", "generate-content": f"{GEMINI_PATH}/{model.wire_name}"}
    return replace(model, base_url=None, auth="bearer", path=paths[model.protocol])


def builtin_catalogue() -> dict[str, Model]:
    """The gateway's two models, shipped with the package."""
    text = resources.files("rowmill.schemas").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return parse_catalogue(text, "schemas/catalogue.toml")


def find_model(name: str, catalogue: Mapping[str, Model]) -> Model:
    """Model by name. Raises CatalogueError naming those that are known."""
    if name in catalogue:
        return catalogue[name]
    raise CatalogueError(
        f"the model {name!r} is in no catalogue",
        where="model",
        hint=f"known are {', '.join(sorted(catalogue))}; a catalogue of your own can add more (`catalogue:`)",
    )
