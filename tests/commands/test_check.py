"""What `check` shows of a request."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from rowmill.flows.commands.check import _shortened


@given(st.binary(min_size=200, max_size=2_000), st.booleans())
def test_encoded_media_are_cut_to_their_beginning(content, as_url):
    """An image is shown by its beginning and its length, wherever it is in the request."""
    encoded = ("data:image/png;base64," if as_url else "") + base64.b64encode(content).decode()
    shown = _shortened({"parts": [{"inline_data": {"data": encoded}}]})["parts"][0]["inline_data"]["data"]
    assert len(shown) < 100
    assert encoded.startswith(shown.partition("...")[0])
    assert f"{len(encoded):,} characters" in shown


@given(st.lists(st.text("abc ", min_size=1, max_size=30).filter(str.strip), min_size=10).map(" ".join))
def test_text_is_shown_whole(text):
    """A prompt of any length is what the user wants to see."""
    assert _shortened([text]) == [text]
