"""Money sums exactly, and usage is split as each provider means it."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.catalogue import builtin_catalogue, parse_catalogue
from rowmill.schemas.errors import CatalogueError
from rowmill.schemas.price import PICO, Cost, decimal_string, parse_amount, per_token, short_usd
from rowmill.schemas.results import MONEY, money_array
from rowmill.schemas.usage import Usage, split_usage

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


@given(st.lists(st.none() | st.integers(-(10**17), 10**17), max_size=20))
def test_money_columns_hold_exactly_what_was_counted(amounts):
    """10⁻¹² units become decimal128(18, 12) without a digit lost."""
    column = money_array(amounts)
    assert column.type == MONEY
    column.validate(full=True)
    assert [None if v is None else int(v * PICO) for v in column.to_pylist()] == amounts
    assert pa.types.is_decimal(column.type)


@pytest.mark.parametrize("price", ["-1", "x", "NaN", "Infinity", "0.0000001"])
def test_a_price_that_is_no_whole_unit_is_refused(price):
    """A price finer than money is kept, negative or no number is refused with its place."""
    with pytest.raises(CatalogueError) as caught:
        per_token(price, "mine.toml: models.x.price.input_usd")
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "completion", "thoughts", "total", "inside", "expected"),
    [
        (12, 18, 55, 85, False, Usage(12, 18, 55)),  # the Flash page's example: beside
        (12, 86, 0, 98, True, Usage(12, 86, 0)),  # the Pro page's example
        (12, 86, 50, 98, True, Usage(12, 36, 50)),  # inside the completion, as OpenAI defines it
        (12, 86, 50, 148, True, Usage(12, 86, 50)),  # beside, told by the total, against the protocol's definition
        (12, 73, 55, 85, False, Usage(12, 18, 55)),  # inside, told by the total, against the protocol's definition
        (12, 86, 0, 150, True, Usage(12, 86, 52)),  # reasoning that only the total holds
        (12, 86, 50, None, True, Usage(12, 36, 50)),  # no total: the protocol's definition
        (12, 18, 55, None, False, Usage(12, 18, 55)),
        (12, 18, 55, None, True, Usage(12, 18, 55)),  # more thoughts than completion cannot be inside
        (12, 0, 0, 12, False, Usage(12, 0, 0)),  # a blocked prompt
    ],
)
def test_thoughts_inside_or_beside_the_completion(prompt, completion, thoughts, total, inside, expected):
    """Thoughts are counted once, wherever the provider's usage puts them."""
    assert split_usage(prompt, completion, thoughts, total, inside=inside) == expected


@pytest.mark.parametrize(("usd", "shown"), [("0", "$0"), ("0.000000123", "$0.00000012"), ("1234.5", "$1,234.50")])
def test_small_sums_are_shown_with_enough_digits(usd, shown):
    """Nobody sees $0.00 where something was paid."""
    assert short_usd(parse_amount(usd)) == shown


def test_a_users_catalogue_names_its_mistakes():
    """An unknown key, a missing one and a model without price: the first two refused by place, the third unknown."""
    head = '[models.m]\nprotocol="chat-completions"\npath="/v1/x"\ncontext_window=1\nmax_output_tokens=1\n'
    tail = 'native_schema=true\nversion="1"\nsource="me"\nchecked=2026-01-01\n'
    assert parse_catalogue(head + tail, "c.toml")["m"].price is None
    for wrong, told in ((head, "native_schema"), (head + tail + "colour=1", "colour"), ("[x]", "unknown table")):
        with pytest.raises(CatalogueError, match="c.toml") as caught:
            parse_catalogue(wrong, "c.toml")
        assert told in str(caught.value)
