"""Catalogues of models and prices."""

from __future__ import annotations

import pytest

from rowmill.schemas.catalogue import parse_catalogue
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
