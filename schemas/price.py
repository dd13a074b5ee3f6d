"""Price and cost: exact integers of 10⁻¹² USD and 10⁻¹² credits, never floats."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import msgspec

from rowmill.schemas.errors import CatalogueError, JobError
from rowmill.schemas.usage import Usage

PICO = 10**12
MILLION = 10**6
# What decimal128(18, 12) holds in one row, in 10⁻¹² units (exclusive), and where sums and prices can only be slips.
ROW_MOST = 10**18
AMOUNT_MOST = 10**15
PRICE_MOST = 10**6
# A cap in USD beyond this is a slip.
MONEY_MOST = 10**9
AMOUNT_MOST_CHARS = 100


class Cost(msgspec.Struct, frozen=True, gc=False):
    """Money as integers of 10⁻¹² (pico-USD, pico-credits). Sums are exact."""

    usd: int = 0
    credits: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.usd + other.usd, self.credits + other.credits)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.usd - other.usd, self.credits - other.credits)


ZERO = Cost()


@dataclass(frozen=True, slots=True)
class Rates:
    """Price of one token in 10⁻¹² USD and credits. Thoughts are billed as output, cached input at its own rate."""

    input_usd: int
    output_usd: int
    input_credits: int
    output_credits: int
    cached_input_usd: int
    cached_input_credits: int

    def of(self, usage: Usage) -> Cost:
        """Cost of a usage, exact."""
        anew = usage.input - usage.cached
        return Cost(
            anew * self.input_usd + usage.cached * self.cached_input_usd + usage.billed_output * self.output_usd,
            anew * self.input_credits
            + usage.cached * self.cached_input_credits
            + usage.billed_output * self.output_credits,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """Rates of a model, and those of calls with more input than a number of tokens, the fewest first."""

    rates: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()

    @property
    def input_usd(self) -> int:
        """One input token of an ordinary call, in 10⁻¹² USD."""
        return self.rates.input_usd

    @property
    def output_usd(self) -> int:
        return self.rates.output_usd

    @property
    def output_credits(self) -> int:
        return self.rates.output_credits

    def of(self, usage: Usage) -> Cost:
        """Cost of the usage of one call, exact: all of it at the rates of the tier that its input reaches."""
        return self.rates_at(usage.input).of(usage)

    def rates_at(self, input_tokens: int) -> Rates:
        """The rates of a call with so much input."""
        rates = self.rates
        for above, dearer in self.tiers:
            if input_tokens > above:
                rates = dearer
        return rates

    def most_usd(self, input_tokens: int, output_tokens: int) -> int:
        """The most that a call with at most so many tokens can cost, in 10⁻¹² USD."""
        if not self.tiers:
            return _most_usd(self.rates, input_tokens, output_tokens)
        reached = [self.rates, *(rates for above, rates in self.tiers if input_tokens > above)]
        return max(_most_usd(rates, input_tokens, output_tokens) for rates in reached)


def _most_usd(rates: Rates, input_tokens: int, output_tokens: int) -> int:
    return input_tokens * max(rates.input_usd, rates.cached_input_usd) + output_tokens * rates.output_usd


def per_token(per_million: str, where: str) -> int:
    """Decimal price per million tokens → integer of 10⁻¹² per token.

    Raises CatalogueError where the price is no decimal, is negative or above a million, or is no whole number of 10⁻¹²
    per token.
    """
    try:
        value = _decimal(per_million)
    except ValueError:
        raise CatalogueError(
            f"the price {per_million[:60]!r} is not a decimal number",
            where=where,
            hint='write it as a string such as "0.80", per million tokens',
        ) from None
    if value > PRICE_MOST:
        raise CatalogueError(
            f"the price {per_million[:60]} is above {PRICE_MOST:,} per million tokens",
            where=where,
            hint="prices are per million tokens, not per token",
        )
    pico = value * (PICO // MILLION)
    if value < 0 or pico != pico.to_integral_value():
        raise CatalogueError(
            f"the price {per_million} is negative or finer than 0.000001 per million tokens",
            where=where,
            hint="money is kept in whole 10⁻¹² units a token: use at most 6 decimals",
        )
    return int(pico)


def decimal_string(pico: int) -> str:
    """10⁻¹² units → plain decimal string with all 12 places, e.g. 123 → '0.000000000123'."""
    sign = "-" if pico < 0 else ""
    whole, part = divmod(abs(pico), PICO)
    return f"{sign}{whole}.{part:012d}"


def parse_amount(text: str) -> int:
    """Decimal string → 10⁻¹² units, rounded down. Raises ValueError where it is no decimal, or no sum of money."""
    value = _decimal(str(text))
    if abs(value) >= AMOUNT_MOST:
        raise ValueError(f"{text[:60]!r} is no sum of money: it is {AMOUNT_MOST:.0e} or more")
    return int(value * PICO)


def asked_usd(amount: object, where: str, *, or_nothing: bool = False) -> float:
    """A sum above 0 USD that somebody holds a run to, or 0 too. Raises JobError where it is none: NaN holds nobody."""
    is_number = isinstance(amount, int | float | Decimal) and not isinstance(amount, bool)
    told = float(amount) if is_number else -1.0  # type: ignore[arg-type]
    if not (0 < told <= MONEY_MOST or (or_nothing and told == 0)):
        least = "from 0" if or_nothing else "above 0"
        raise JobError(f"{amount!r} is no sum of money {least}", where=where, hint="name a sum in USD, such as 20")
    return told


def _decimal(text: str) -> Decimal:
    """A finite decimal. Raises ValueError."""
    try:
        value = Decimal(text) if len(text) <= AMOUNT_MOST_CHARS else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite():
        raise ValueError(f"{text[:60]!r} is not a decimal number")
    return value


def short_usd(pico: int) -> str:
    """Money for people: two places from a dollar up, else enough digits to show a small sum."""
    value = Decimal(pico) / PICO
    if abs(value) >= 1:
        return f"${value:,.2f}"
    if value == 0:
        return "$0"
    places = max(4, 1 - value.adjusted())
    return f"${value:.{min(places, 12)}f}"


def usd(amount: float) -> str:
    """A forecast's dollars for people, never with an exponent: cents from a dollar up, else two or three digits."""
    if not amount or abs(amount) >= 1:
        return f"${amount:,.2f}"
    if abs(amount) >= 0.1:
        return f"${amount:.3f}"
    digits = f"{amount:.{1 - Decimal(amount).adjusted()}f}"
    return f"${digits.rstrip('0')}" if "." in digits else f"${digits}"
