"""Money sums exactly, and amounts read back as written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.catalogue import builtin_catalogue, parse_catalogue
from rowmill.schemas.errors import CatalogueError, JobError
from rowmill.schemas.price import PICO, Cost, asked_usd, decimal_string, parse_amount, per_token, short_usd
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


TIERED = """
[models.tiered]
protocol = "generate-content"
path = "/models/tiered"
context_window = 1_000_000
max_output_tokens = 65_536
native_schema = true
version = "1"
source = "a page"
checked = 2026-11-21
[models.tiered.price]
input_usd = "2.00"
output_usd = "12.00"
cached_input_usd = "0.20"
[[models.tiered.price.tiers]]
above_input_tokens = 200_000
input_usd = "4.00"
output_usd = "18.00"
cached_input_usd = "0.40"
"""


def test_cached_tokens_and_long_prompts_cost_what_their_catalogue_says() -> None:
    """Cached input is billed at its own price; a prompt above a tier's length makes every token of the call dearer."""
    price = parse_catalogue(TIERED, "mine.toml")["tiered"].price
    assert price is not None
    short = Usage(input=100_000, output=1_000, thoughts=500, cached=60_000)
    assert price.of(short).usd == parse_amount("0.08") + parse_amount("0.012") + parse_amount("0.018")
    assert price.of(Usage(input=200_000)).usd == parse_amount("0.40")
    assert price.of(Usage(input=200_001)).usd == 200_001 * per_token("4.00", "")
    assert price.of(Usage(input=300_000, output=1_000, cached=300_000)).usd == parse_amount("0.138")


@given(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 10**6), st.integers(0, 10**5))
def test_no_usage_costs_more_than_the_most(input_tokens: int, output: int, cached: int, fewer: int) -> None:
    """Whatever part of the input was cached, and however many fewer tokens there are, the worst case holds."""
    price = parse_catalogue(TIERED, "mine.toml")["tiered"].price
    assert price is not None
    used = max(0, input_tokens - fewer)
    assert price.of(Usage(used, output, cached=min(cached, used))).usd <= price.most_usd(input_tokens, output)


def test_a_catalogue_with_wrong_tiers_is_refused() -> None:
    """Two tiers of one length, a misspelt key in a tier: refused by name."""
    twice = TIERED + TIERED[TIERED.index("[[models") :]
    with pytest.raises(CatalogueError, match="two tiers begin at one number"):
        parse_catalogue(twice, "mine.toml")
    with pytest.raises(CatalogueError, match="above_input_tokens"):
        parse_catalogue(TIERED.replace("above_input_tokens", "above_input_token"), "mine.toml")


@given(st.integers(-(10**26), 10**26))
def test_amounts_read_back_as_written(pico):
    """decimal_string and parse_amount are each other's inverse."""
    assert parse_amount(decimal_string(pico)) == pico
    assert Decimal(decimal_string(pico)) * PICO == pico


@pytest.mark.parametrize(
    "price", ["-1", "x", "NaN", "Infinity", "0.0000001", "1e400", "1e999999", "1e-999999", "9" * 10_000, "1000001"]
)
def test_a_price_that_is_no_whole_unit_is_refused(price):
    """A price finer than money is kept, negative or no number is refused with its place."""
    with pytest.raises(CatalogueError) as caught:
        per_token(price, "mine.toml: models.x.price.input_usd")
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize("amount", ["1e999999", "1e400", "-1e999999", "9" * 10_000, "Infinity", "NaN", "x", ""])
def test_an_amount_that_is_no_sum_of_money_is_refused(amount):
    """Whatever a gateway or a file names as money is a bounded number or no money at all."""
    with pytest.raises(ValueError, match=r"decimal|sum of money"):
        parse_amount(amount)


@pytest.mark.parametrize(("usd", "shown"), [("0", "$0"), ("0.000000123", "$0.00000012"), ("1234.5", "$1,234.50")])
def test_small_sums_are_shown_with_enough_digits(usd, shown):
    """Nobody sees $0.00 where something was paid."""
    assert short_usd(parse_amount(usd)) == shown


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -1, 10**10, True, "20", None, Decimal("NaN")])
def test_no_run_is_held_to_a_sum_that_is_none(amount):
    """What is no number, or nothing is above, would let every bill pass."""
    for or_nothing in (False, True):
        with pytest.raises(JobError, match="no sum of money"):
            asked_usd(amount, "approve_over", or_nothing=or_nothing)
    assert asked_usd(0, "require_forecast_under", or_nothing=True) == 0
