"""Money sums exactly, and amounts read back as written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.errors import CatalogueError
from rowmill.schemas.price import PICO, Cost, decimal_string, parse_amount, per_token, short_usd
from rowmill.schemas.usage import Usage

tokens = st.integers(0, 2**31)


@given(st.lists(st.tuples(tokens, tokens, tokens), max_size=50))
def test_cost_of_a_sum_is_the_sum_of_the_costs(rows):
    """Adding usage and pricing it is the same as pricing and adding, to the last digit."""
    for model in builtin_catalogue().values():
        assert model.price is not None
        usages = [Usage(*row) for row in rows]
        whole = sum(usages, Usage())
        assert model.price.of(whole) == sum((model.price.of(usage) for usage in usages), Cost())


def test_prices_are_those_of_the_pages():
    """One million tokens cost what the gateway's pages say, in USD and credits."""
    for name, usd_in, usd_out, credits_in, credits_out in (
        ("gemini-3-pro", "0.80", "4.80", 160, 960),
        ("gemini-3-flash", "0.60", "1.20", 120, 240),
    ):
        price = builtin_catalogue()[name].price
        assert price is not None
        million = 10**6
        assert price.of(Usage(input=million)) == Cost(parse_amount(usd_in), credits_in * PICO)
        assert price.of(Usage(output=million)) == Cost(parse_amount(usd_out), credits_out * PICO)
        assert price.of(Usage(thoughts=million)) == price.of(Usage(output=million))


@given(st.integers(-(10**26), 10**26))
def test_amounts_read_back_as_written(pico):
    """decimal_string and parse_amount are each other's inverse."""
    assert parse_amount(decimal_string(pico)) == pico
    assert Decimal(decimal_string(pico)) * PICO == pico


@pytest.mark.parametrize("price", ["-1", "x", "NaN", "Infinity", "0.0000001"])
def test_a_price_that_is_no_whole_unit_is_refused(price):
    """A price finer than money is kept, negative or no number is refused with its place."""
    with pytest.raises(CatalogueError) as caught:
        per_token(price, "mine.toml: models.x.price.input_usd")
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(("usd", "shown"), [("0", "$0"), ("0.000000123", "$0.00000012"), ("1234.5", "$1,234.50")])
def test_small_sums_are_shown_with_enough_digits(usd, shown):
    """Nobody sees $0.00 where something was paid."""
    assert short_usd(parse_amount(usd)) == shown
