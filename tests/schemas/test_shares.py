"""What a call for several rows cost is divided among them to the last unit."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.attempt import Spent
from rowmill.schemas.price import Price, Rates
from rowmill.schemas.shares import Shares, share_out, with_common
from rowmill.schemas.usage import Usage

weights = st.lists(st.integers(0, 10**6), min_size=1, max_size=100)
counts = st.integers(0, 10**9)
RATES = Rates(800_000, 4_800_000, 160_000_000, 960_000_000, 200_000, 40_000_000)
PRICE = Price(RATES, ((200_000, Rates(1_600_000, 7_200_000, 320_000_000, 1_440_000_000, 400_000, 80_000_000)),))


@given(st.integers(0, 10**18), weights)
def test_shares_add_up_and_each_is_its_quota_rounded(total: int, parts: list[int]) -> None:
    """The shares are the whole, and none is off its exact quota by one or more."""
    shares = share_out(total, parts)
    assert sum(shares) == total
    whole = sum(parts) or len(parts)
    for share, weight in zip(shares, parts if any(parts) else [1] * len(parts), strict=True):
        assert abs(share - Fraction(total * weight, whole)) < 1


@given(weights, weights, counts, counts, counts, st.fractions(0, 1), st.booleans())
def test_a_bill_is_the_sum_of_its_shares(
    sent: list[int], told: list[int], given_: int, said: int, thought: int, cached: Fraction, priced: bool
) -> None:
    """Tokens, USD, credits and the number of calls of the rows are those of their call; each row pays for its tokens at
    the rates that the whole call has reached.
    """
    rows = min(len(sent), len(told))
    shares_of = Shares(with_common(sent[:rows], 900), with_common(told[:rows], 30))
    usage = Usage(given_, said, thought, int(given_ * cached))
    price = PRICE if priced else None
    bill = Spent(1, usage, price.of(usage) if price else None)
    shares = shares_of.of(bill, price)
    together = sum(shares[1:], shares[0])
    assert (together.usage, together.cost, together.calls) == (bill.usage, bill.cost, 1)
    assert [one.attempts for one in shares] == [1] * rows
    if price is not None:
        assert all(one.cost == price.rates_at(given_).of(one.usage) for one in shares)
    assert all(one.usage.cached <= one.usage.input for one in shares)


@given(weights, st.integers(0, 10**15))
def test_an_unknown_bill_is_bounded_once(sent: list[int], bound: int) -> None:
    """What a call may have cost at most is divided too: N rows bear it once, not N times."""
    shares = Shares(sent, sent).of(Spent(1, unknown=True, unknown_usd=bound), PRICE)
    assert sum(one.unknown_usd for one in shares) == bound
    assert all(one.unknown and one.cost is not None and not one.cost.usd for one in shares)


def test_a_long_row_pays_for_its_length_and_the_rest_is_common() -> None:
    """Own text is paid by its size, what is common by all alike."""
    shares = Shares(with_common([100, 300], 600), [1, 1]).of(Spent(1, Usage(1_000, 10, 10)), None)
    assert [one.usage.input for one in shares] == [400, 600]
    assert [one.usage.thoughts for one in shares] == [5, 5]
