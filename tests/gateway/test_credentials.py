"""Access: what an environment may say of the gateway, and what of it is never shown."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.errors import JobError
from rowmill.tasks.gateway.credentials import Gateway, endpoint, gateway_from, key_withheld

KEY = "sk-0123456789ab"


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("", "https://api.aivideoapi.ai/v1/x"), ("https://host", "https://host/v1/x"),
        ("https://host/", "https://host/v1/x"), ("https://host/v1", "https://host/v1/x"),
        ("https://host/v1/", "https://host/v1/x"), ("http://127.0.0.1:8080/team/v1", "http://127.0.0.1:8080/team/v1/x"),
        ("http://[::1]:80", "http://[::1]/v1/x"), ("  https://host\n", "https://host/v1/x"),
    ],
)  # fmt: skip
def test_an_address_is_taken_with_or_without_v1(base_url, url):
    """However the address is written, a path is appended once."""
    gateway = gateway_from({"ROWMILL_API_KEY": KEY, "ROWMILL_BASE_URL": base_url})
    assert str(endpoint(gateway.base_url, "/v1/x")) == url


SECRET = "hunter2!"


@pytest.mark.parametrize(
    "base_url",
    [
        f"https://user:{SECRET}@host", f"https://{SECRET}@host/v1", f"htps://user:{SECRET}@host", f"user:{SECRET}@host",
        f"https:/user:{SECRET}@host", f"https://user:{SECRET}@", f"https://user:{SECRET}@ho st", f"//user:{SECRET}@host",
        f"https://user:{SECRET}/@host", f"https://user:{SECRET}@host:99999", f"https://host/?key={SECRET}",
        f"host?key={SECRET}", f"https://host/v1#{SECRET}", f"https://user:{SECRET}@[::1", f"@{SECRET}", f"https://user:{SECRET}",
        f"user:{SECRET}.host", f"https://host/{SECRET}:1@2",
    ],
)  # fmt: skip
def test_a_password_in_the_address_is_refused_and_not_shown(base_url):
    """An address with a user name, a password or a query is refused, in words that do not hold them."""
    with pytest.raises(JobError) as refused:
        gateway_from({"ROWMILL_API_KEY": KEY, "ROWMILL_BASE_URL": base_url})
    assert SECRET not in str(refused.value)
    assert "ROWMILL_BASE_URL" in str(refused.value)
    assert refused.value.hint
    assert SECRET not in repr(Gateway(base_url, KEY))


@pytest.mark.parametrize("base_url", ["ftp://host", "host", "https://", "https:///v1", "https://host:port", "\x1b[2J"])
def test_what_is_no_address_is_refused_with_its_name(base_url):
    """A mistyped address is shown, so that the mistake is seen."""
    with pytest.raises(JobError, match="ROWMILL_BASE_URL") as refused:
        gateway_from({"ROWMILL_API_KEY": KEY, "ROWMILL_BASE_URL": base_url})
    assert repr(base_url)[1:8] in str(refused.value)


@given(st.text())
def test_any_address_is_taken_or_refused(base_url):
    """No text in place of an address is a traceback."""
    try:
        endpoint(base_url, "/v1/x")
    except JobError as refused:
        assert refused.hint


@pytest.mark.parametrize("key", ["", "  ", "sk a", "sk-\n1", "sk-\x00", "sk-\x1b", "schlüssel", "sk-\x7f"])
def test_a_key_that_no_header_can_hold_is_refused(key):
    """A missing key, or one with characters that no key has, is told before a call; it is not shown."""
    with pytest.raises(JobError, match="ROWMILL_API_KEY") as refused:
        gateway_from({"ROWMILL_API_KEY": key})
    assert not key.strip() or key not in str(refused.value)


def test_the_key_is_withheld_from_a_process_that_needs_none():
    """While another process is started the environment has no key; afterwards it has it again, whatever happened."""
    environment = {"ROWMILL_API_KEY": KEY, "OTHER": "1"}
    with pytest.raises(RuntimeError), key_withheld(environment):
        assert environment == {"OTHER": "1"}
        raise RuntimeError
    assert environment["ROWMILL_API_KEY"] == KEY
    with key_withheld(os.environ):
        assert "ROWMILL_API_KEY" not in os.environ
