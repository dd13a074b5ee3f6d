"""Catalogues of models and prices."""

from __future__ import annotations

from importlib import resources

import pytest

from rowmill.schemas.catalogue import ModelEntry, parse_catalogue
from rowmill.schemas.errors import CatalogueError


def test_a_users_catalogue_names_its_mistakes():
    """An unknown key, a missing one and a model without price: the first two refused by place, the third unknown."""
    head = '[models.m]\nprotocol="chat-completions"\npath="/v1/x"\ncontext_window=1\nmax_output_tokens=1\n'
    tail = 'native_schema=true\nversion="1"\nsource="me"\nchecked=2026-01-01\n'
    assert parse_catalogue(head + tail, "c.toml")["m"].price is None
    for wrong, told in ((head, "native_schema"), (head + tail + "colour=1", "colour"), ("[x]", "unknown table")):
        with pytest.raises(CatalogueError, match="c.toml") as caught:
            parse_catalogue(wrong, "c.toml")
        assert told in str(caught.value)


WRONG = """
[tariffs]
[models.a]
protocol = "smoke-signals"
path = "/v1/x"
contxt_window = 5
max_output_tokens = 0
price = {input_usd = "0.1", outptu_usd = "0.2"}
[models.b]
protocol = "chat-completions"
path = "/v1/x"
context_window = 1
max_output_tokens = 1
native_schema = true
version = "1"
source = "me"
checked = 2026-01-01
price = {input_usd = "cheap", output_usd = "0.2"}
[models]
c = 5
"""


def test_all_mistakes_of_a_catalogue_are_told_at_once():
    """Every wrong key of every model in one message, each by its place, with the nearest key where it was misspelt."""
    with pytest.raises(CatalogueError, match="^c.toml: ") as caught:
        parse_catalogue(WRONG.replace("[models]\nc = 5", "[models.c]"), "c.toml")
    message = str(caught.value)
    for words in (
        "unknown table 'tariffs'", "models.a.protocol", "models.a.context_window is missing", "did you mean 'context_window'?",
        "models.a.max_output_tokens: input should be greater than 0", "did you mean 'output_usd'?", "models.a.version is missing",
        "models.b.price.input_usd", "models.c.protocol is missing", "rowmill models --init",
    ):  # fmt: skip
        assert words in message, words


def test_the_catalogue_to_start_from_is_whole():
    """What `rowmill models --init` writes is a catalogue: every key of the form is explained, every server has a model."""
    text = (resources.files("rowmill.flows.commands") / "models.toml").read_text()
    models = parse_catalogue(text, "models.toml")
    assert {model.auth for model in models.values()} == {"none", "bearer", "x-goog-api-key"}
    assert {model.protocol for model in models.values()} == {"chat-completions", "generate-content"}
    explained = text[: text.index("\n\n")]
    for name in ModelEntry.model_fields:
        assert name in explained, name
