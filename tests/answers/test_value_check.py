"""Whether a quote holds its value: numbers, dates and enums as the world writes them; what is not sure is left open."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowmill.tasks.answers.evidence_fields import ValueRule
from rowmill.tasks.answers.value_check import value_in_quote

HELD: list[tuple[Any, str, Any]] = [
    (1234.56, "1.234,56", True), (1234.56, "1,234.56 USD", True), (1234.56, "1 234,56", True), (1234.56, "1'234.56", True),
    (1234.56, "1234.56", True), (1234, "1.234", True), (1.234, "1.234", True), (1234567, "1.234.567", True), (100000, "1,00,000", True),
    (1234.5, "1,234.56", False), (5, "fifteen", None), (12, "12", True), (-5, "−5 °C", True), (5, "(5.00)", True), (0.5, "50 %", None),
    (50, "50 %", True), (1_200_000, "1.2 million", None), (12000, "１２，０００円", True), (12, "2024-05-12", True), (3, "no digits", None),
    (7, "5 to 9", False), (5, "5 10", True), (510, "5 10", False), (1250, "١٢٥٠", True), (2.5, "2,5 kg", True), (3, "100", False), (1.5, "1½", True), (True, "yes", None),
    ("2024-05-03", "3 May 2024", True), ("2024-05-03", "May 3rd, 2024", True), ("2024-05-03", "03.05.2024", True), ("2024-05-03", "5/3/24", True),
    ("2024-05-03", "3. Mai 2024", True), ("2024-05-03", "2024年5月3日", True), ("2024-05-03", "令和６年５月３日", True), ("2024-05-03", "20240503", True),
    ("2024-05-03", "4 May 2024", False), ("2024-05-03", "3 June 2024", False), ("2024-05-03", "3.5.2023", False), ("2024-05-03", "tomorrow", None),
    ("2024-05-03", "3 May", None), ("2024-05-03T10:00:00Z", "on 3 May 2024 at ten", True), ("2019-05-01", "令和元年5月1日", True), ("2024-05-05", "5.5.2024", True),
    ("12.50", "12,50 €", True), ("12.50", "13,50 €", False), ("Ada", "for ADA Lovelace", True), ("Ada", "for Bob", None), ("東京", "東 京都", True),
]  # fmt: skip


NUMBERS: list[tuple[Any, str, Any]] = [
    (1234567.89, "12,34,567.89", True), (1234567.89, "1’234’567.89", True), (1234567, "1\u202f234\u202f567", True), (1234567, "1˙234˙567", True),
    (1234.5, "١٬٢٣٤٫٥", True), (1234.5, "१,२३४.५", True), (0.5, ",5 kg", True), (0.5, ".5 kg", True), (1e6, "1e6", True), (10**28 + 1, str(10**28 + 1), True),
    # Below zero: a sign, brackets, a minus behind, triangles. One sign alone decides nothing.
    (-1234.56, "(1,234.56)", True), (-1234.56, "($1,234.56)", True), (-1234.56, "1,234.56-", True), (-5, "▲5", True), (-5, "5.00 CR", True),
    (5, "(5)", True), (-5, "5", None), (12.5, "-12,5", None), (-5, "(5 items)", None), (9, "5–9", True), (9, "A-9", True), (5, "2024-05", True),
    # Dates, versions and times have numbers of their own; a number is not grouped behind a zero.
    (2024, "03.05.2024", True), (3, "v1.2.3", True), (1, "0.001", False), (90, "1h30", None), (5400, "1:30:00", None),
    # Another size or unit, in any language; neither powers nor fractions are digits of the number before them.
    (0.25, "25 pct", None), (0.25, "٢٥٪", None), (1_500_000, "1,5 млн руб.", None), (1_500_000, "1,5 milhões", None), (1_500_000, "1.5 مليون", None),
    (150_000, "1.5 लाख", None), (1_500, "1,5 тыс. руб.", None), (42_000, "42kg", None), (24, "2 Dutzend", None), (180, "3 Stunden", None), (0.2, "2割", None),
    (125, "12,50 EUR", False), (1_000_000, "10^6", None), (102, "10²", None), (106, "1×10⁶", None), (2, "CO₂", None), (11, "1½", None),
    (2.5, "2½ cups", True), (2.5, "2 1/2", True), (0.75, "¾", True), (0.333, "1/3", True), (0.34, "1/3", None), (3, "three of 5", None),
    (-1234.56, "-$1,234.56", True), (1234.56, "-$1,234.56", None), (-5, "-EUR 5", True), (1234.56, "1.234,56-", None), (500, "Rs.500", True), (12, "no.12", True),
    # Numbers that several pieces say together, ends of ranges cut short, sums, degrees; years of an era, Roman ones.
    (2024, "2023–24", None), (1918, "1914-18", None), (4930123456, "+49 30 123456", None), (5551234, "555-1234", None), (19.99, "19€99", None), (19.99, "19 Euro 99", None),
    (6, "2x3", None), (6, "2*3", None), (72.5, "72°30'", None), (2024, "令和6年", True), (2030, "令和6年", False), (14, "Louis XIV, 5 pages", None), (15, "Louis XIV, 5 pages", False),
    (1.5, "90 min", None), (14, "2 weeks", None), (0.05, "500 bps", None), (126, "12,60 EUR", False),
    # Words in more languages than can be read; those of other numbers say nothing.
    (5, "пять из 12", None), (6, "пять из 12", False), (5, "beş / 12", None), (5, "12 में से पाँच", None), (200, "deux cents sur 300", None), (22, "twenty-two of 30", None),
    (0, "none of the 12", None), (1, "a box of 12", None), (7, "a box of 12", False), (40, "Amount due: 12", False), (15, "fünfzehn von 30", None), (2000, "kaksituhatta 3", None),
    # Chinese numerals; those that are part of a name decide nothing.
    (123, "百二十三円", True), (2024, "二〇二四", True), (12345, "1万2345円", True), (5_000_000, "五百万円", True), (50_000, "5만원", True), (12, "千葉", None),
]  # fmt: skip
DATES: list[tuple[str, str, Any]] = [
    ("2024-05-03", "令和六年五月三日", True), ("2019-05-01", "令和元年五月一日", True), ("2024-12-31", "令和六年十二月三十一日", True), ("2024-05-03", "R6.5.3", True),
    ("2024-05-03", "令6.5.3", True), ("2024-05-03", "二〇二四年五月三日", True), ("2024-05-03", "令和五年五月三日", False), ("2024-11-25", "民國113年11月25日", True),
    ("2024-11-25", "民国一百一十三年十一月二十五日", True), ("2024-05-03", "平成6年5月3日", False), ("2024-05-03", "3 พฤษภาคม 2567", True), ("2024-05-03", "3 พ.ค. 2567", True),
    ("2024-05-03", "3 мая 2024 г.", True), ("2024-05-03", "3 maja 2024", True), ("2024-05-03", "3. května 2024", True), ("2024-05-03", "2024. május 3.", True),
    ("2024-05-03", "3 Mayıs 2024", True), ("2024-05-03", "3 Μαΐου 2024", True), ("2024-05-03", "den 3 maj 2024", True), ("2024-05-03", "3 toukokuuta 2024", True),
    ("2024-05-03", "3 مايو 2024", True), ("2024-05-03", "٣ مايو ٢٠٢٤", True), ("2024-05-03", "3 मई 2024", True), ("2024-05-03", "3 במאי 2024", True),
    ("2024-05-03", "3.V.2024", True), ("2024-05-03", "3-5 May 2024", True), ("2024-05-04", "3-5 May 2024", False), ("2024-05-03", "۱۴۰۳/۲/۱۴", None),
    ("2024-05-03", "the third of May 2024", None), ("2024-05-03", "13 May 2024", False), ("2024-05-03", "ngày 3 tháng 5 năm 2024", True),
    # Told from another day, in weeks, by another calendar: another date that stands there decides nothing.
    ("2024-05-03", "30 days after 3 April 2024", None), ("2024-05-03", "two weeks from 19 April 2024", None), ("2024-05-03", "yesterday (4 May 2024)", None),
    ("2024-05-03", "2024年4月3日から30日以内", None), ("2024-05-03", "10 Tage nach dem 23.04.2024", None), ("2024-05-03", "2024-W18-5", None), ("2024-05-03", "1403/02/14", None),
    ("2024-05-03", "1403/02/14, 4.5.2024", False), ("2024-05-03", "invoiced 4 May 2024", False),
    # The time counts where the passage tells one: in 24 hours or twice 12, in zones that may be others.
    ("2024-05-03T22:30:00", "May 3, 2024, 10:30 p.m.", True), ("2024-05-03T10:30:00", "May 3, 2024, 10:30 p.m.", False), ("2024-05-03T10:30:00Z", "3 May 2024 11:37 UTC", False),
    ("2024-05-03T10:30:00Z", "3 May 2024 12:30 CEST", None), ("2024-05-03T10:30:00", "3.5.2024, 10.30 Uhr", True), ("2024-05-03T22:30:00", "2024年5月3日 午後10時30分", True),
    ("2024-05-03T10:30:00", "3 May 2024", True), ("22:30", "10:30 pm", True), ("10:30:00", "half past ten", None), ("10:30", "at 11:30", False), ("10:30+02:00", "at 11:30", None),
    ("2024-05-03T01:00:00+09:00", "2 May 2024, 16:00 UTC", None), ("2024-05-03T01:00:00Z", "7 May 2024", False),
]  # fmt: skip
TEXTS: list[tuple[str, str, Any]] = [
    ("cat", "to concatenate", None), ("Anna", "Annabel", None), ("Straße", "STRASSE 5", True), ("12.50", "112.50", False), ("-12.50", "(12.50)", True),
    ("007", "no. 7", True), ("第一", "第一章", True),
]  # fmt: skip


@pytest.mark.parametrize(("value", "quote", "holds"), HELD + NUMBERS + DATES + TEXTS)
def test_a_quote_holds_its_value_where_that_can_be_decided(value, quote, holds):
    """Numbers in any custom, dates in any order and seven languages; what only a person can judge is left open."""
    assert value_in_quote(value, quote, ValueRule()) is holds


OPTIONS: list[tuple[str, str, str, Any]] = [
    ("invoice", "INVOICE no. 5", "invoice|credit note", True), ("invoice", "Credit note no. 5", "invoice|credit note", False),
    ("invoice", "please pay", "invoice|credit note", None), ("credit note", "a credit-note", "invoice|credit note", True),
    ("invoice", "proforma-invoice", "invoice|receipt", True), ("receipt", "all receipts", "invoice|receipt", True),
    ("no", "notice", "yes|no", None), ("male", "female", "male|female", False), ("low", "below the limit", "low|high", None),
    ("approved", "not approved", "approved|not approved", False), ("not approved", "NOT APPROVED", "approved|not approved", True),
    ("invoiced", "not invoiced, later invoiced", "invoiced|not invoiced", True), ("1", "10", "1|10", False), ("EUR", "USD 5", "EUR|USD", False),
    ("EUR", "$5", "EUR|USD", None), ("approved", "was never approved", "approved|rejected", None), ("approved", "not approved", "approved|rejected", None),
    ("verfügbar", "nicht verfügbar", "verfügbar|weg", None), ("合格", "不合格", "合格|落第", None), ("合格", "不合格", "合格|不合格", False), ("no", "no", "yes|no", True),
    ("invoice", "invoice No. 5, not a receipt", "invoice|receipt", None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "quote", "options", "holds"), OPTIONS)
def test_an_enum_is_held_against_its_other_values(value, quote, options, holds):
    """A quote that names another of them and not this one does not hold it; parts of words and of longer values are no
    names.
    """
    assert value_in_quote(value, quote, ValueRule(tuple(options.split("|")))) is holds


def test_made_amounts_are_held_by_every_custom_and_near_ones_are_not():
    """English, German, French and Swiss marks, with a currency before or behind."""
    rng = random.Random(3)
    for _ in range(500):
        amount = rng.choice([rng.randint(1, 10**9), rng.randint(1, 99), rng.randint(101, 10**8) / 100])
        english = f"{amount:,}"
        german = english.translate(str.maketrans(",.", ".,"))
        for written in (english, german, german.replace(".", " "), english.replace(",", "’")):
            for quote in (written, f"EUR {written}", f"{written} €", f"Total: {written} incl."):
                assert value_in_quote(amount, quote, ValueRule()) is True, (amount, quote)
        near = round(amount + rng.choice([1, 10, 0.01]), 2)
        assert value_in_quote(near, f"{english} EUR", ValueRule()) is False, (near, english)


HOSTILE = [
    "1",
    "1,",
    "1 ",
    "(",
    "(1",
    "一",
    "一万",
    "xteen",
    "½",
    "1 1/2 ",
    "R1.",
    "R6.5.3 ",
    "-1 ",
    "XII ",
    "1e5 ",
    "一年",
    "e\u0301",
    "1:",
]


@pytest.mark.parametrize("value", [1, "2024-05-03T00:00Z", "1" * 3_000, 10**3_000, "a"])
def test_a_quote_that_repeats_itself_is_judged(value):
    """Numbers without an end, more of them than are looked at, values of thousands of digits."""
    for unit in HOSTILE:
        assert value_in_quote(value, (unit * 800)[:800], ValueRule(("a", "b a"))) in (True, False, None)


@given(
    st.one_of(st.integers(), st.floats(), st.text(max_size=20), st.dates().map(str)),
    st.text(max_size=60),
)
@example(float("inf"), "1A")
def test_any_value_and_any_quote_can_be_held_against_each_other(value, quote):
    """True, False or None for whatever comes."""
    assert value_in_quote(value, quote, ValueRule()) in (True, False, None)
    assert value_in_quote(value, str(value), ValueRule()) in (True, None)
