"""Models: the `models` command shows the catalogue of models and prices."""

from __future__ import annotations

import argparse
import json
import os
from importlib import resources
from pathlib import Path

from rowmill.schemas.catalogue import Model, builtin_catalogue, parse_catalogue
from rowmill.schemas.display_text import several_lines
from rowmill.schemas.errors import CatalogueError, ExitCode, OutputError

TEMPLATE = "models.toml"


def models_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill models`. Raises CatalogueError for a catalogue that cannot be read, OutputError for a file to be written
    that is there already.
    """
    if args.init is not None:
        return _init(Path(args.init))
    models = builtin_catalogue()
    for name in (os.environ.get("ROWMILL_CATALOGUE"), args.catalogue):
        if name:
            try:
                models |= parse_catalogue(Path(name).read_text(encoding="utf-8"), name)
            except OSError as error:
                raise CatalogueError(
                    f"cannot be read: {error.strerror}",
                    where=name,
                    hint="name a TOML file with --catalogue or ROWMILL_CATALOGUE",
                ) from None
    if args.json:
        print(json.dumps({name: model_facts(model) for name, model in models.items()}, indent=1))
    else:
        print(several_lines("\n\n".join(_text(model) for model in models.values())))
    return ExitCode.OK


def _init(path: Path) -> ExitCode:
    """Write a catalogue to start from; nothing is overwritten."""
    text = resources.files("rowmill.flows.commands").joinpath(TEMPLATE).read_text(encoding="utf-8")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise OutputError(f"{path.name} is there already", where=str(path), hint="name another file") from None
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror}", where=str(path), hint="name a file that you may write"
        ) from None
    print(f"wrote {path}; keep what you need, then name it by `catalogue:` in a job, or by ROWMILL_CATALOGUE")
    return ExitCode.OK


def model_facts(model: Model) -> dict[str, object]:
    """A model as JSON: prices per million tokens, restrictions, and the source of both."""
    return {
        "protocol": model.protocol,
        "path": model.path,
        "base_url": model.base_url,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "price_per_million_tokens": model.price_entry.model_dump() if model.price_entry else None,
        "restrictions": restrictions(model),
        "version": model.price_version,
        "checked": model.checked.isoformat(),
        "source": model.source,
    }


def restrictions(model: Model) -> list[str]:
    found = []
    if not model.native_schema:
        found.append("no documented field for a JSON Schema: `structured: auto` puts it into the prompt")
    elif not model.native_schema_with_tools:
        found.append("tools and a native schema exclude each other")
    if not model.search_with_functions:
        found.append("search and functions exclude each other")
    return found


def _text(model: Model) -> str:
    price = model.price_entry
    lines = [model.name, f"  protocol       {model.protocol}  {model.path}"]
    if price is None:
        lines.append("  price          unknown: cost is null, and a job with a cap is refused")
    else:
        lines.append(f"  input          ${price.input_usd} or {price.input_credits} credits per million tokens")
        lines.append(f"  output         ${price.output_usd} or {price.output_credits} credits, thoughts included")
        if price.cached_input_usd is not None:
            lines.append(f"  cached input   ${price.cached_input_usd} per million tokens")
        lines += [
            f"  above {tier.above_input_tokens:,} input tokens: input ${tier.input_usd}, output ${tier.output_usd}"
            for tier in price.tiers
        ]
    lines.append(f"  context        {model.context_window:,} tokens, at most {model.max_output_tokens:,} out")
    lines.extend(f"  restriction    {one}" for one in restrictions(model))
    lines.append(f"  checked        {model.checked.isoformat()}, {model.source}")
    return "\n".join(lines)
