"""JSON text is decoded without surprises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.json_text import JsonTextError, decode_json


@given(st.binary(max_size=60))
def test_any_bytes_are_json_or_a_plain_reason(raw):
    """Whatever bytes come, decoding gives a value or says why not; it never fails otherwise."""
    try:
        decode_json(raw)
    except JsonTextError as error:
        assert str(error)
