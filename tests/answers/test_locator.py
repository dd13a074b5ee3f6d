"""Where quotes stand: every exact span is the quote, normalized ones the source's own text, nothing is guessed."""

from __future__ import annotations

import json
import random
import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.evidence import Match
from rowmill.tasks.answers.locator import Quoted, locate
from rowmill.tasks.answers.quote_form import same_passage
from rowmill.tasks.answers.source_text import SourceText

DOCUMENTS = {
    "en": "Invoice {n}-A of 3 March 2024\nBill to: Smith & Sons’ “Old” Mill, 12 High Street\nThe first-class office "
    "chair costs $1,{n}.50 each.\nPayment is due within 30 days of receipt of the goods. Thank you!",
    "de": "Rechnung Nr. {n}/B vom 7. Mai 2023\nEmpfänger: Müller „Söhne“ GmbH, Köln\nDer Gesamtbetrag von 1.{n},99 € ist "
    "bis zum 30. Juni fällig – ohne Abzug.\nWir danken für Ihren Auftrag.",
    "fr": "Facture n° {n} du 14 juillet\nL’hôtel « Beau-Rivage » vous remercie de votre séjour.\nTotal : 1 {n},00 € TTC, "
    "réglé par carte.",
    "ja": "請求書番号：第{n}号（令和６年５月３日）\n株式会社山田製作所　東京都渋谷区代々木１－２－３\nご請求金額は金１２，{n}円（税込）です。\n"
    "お支払期限は「翌月末日」とさせていただきます。",
    "zh": "发票号码：{n}，开票日期：2024年5月3日\n购买方：北京“远大”科技有限公司\n合计金额为人民币{n}元整，请于三十日内付款。",
    "ar": "فاتورة رقم {n} بتاريخ 3 مايو 2024\nالمبلغ الإجمالي هو 1{n} ريال سعودي فقط لا غير.\nشكرا لتعاملكم معنا.",
    "hi": "चालान संख्या {n} दिनांक 3 मई 2024\nकुल राशि 1{n} रुपये है, कृपया तीस दिन में भुगतान करें।",
    "ko": "청구서 번호 {n} (2024년 5월 3일)\n합계 금액은 1{n}원이며 ‘30일’ 이내에 지불해 주십시오.",
    "vi": "Ho\u0301a đơn số {n} ngày 3 tháng 5\nTổng cộng là 1{n} đồng, thanh toán trong vòng ba mươi ngày.",
}
REQUOTED = {"'": "’", "’": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "「": "“", "」": "”", "‘": "'",
            "–": "-", "-": "‑", "－": "-"}  # fmt: skip


def document(language: str, number: int) -> str:
    return DOCUMENTS[language].format(n=number)


def span_of(text: str, rng: random.Random, least: int = 10) -> tuple[int, int]:
    """A span that begins and ends with a letter or digit, whole characters with their marks."""
    while True:
        start = rng.randrange(len(text) - least)
        end = min(len(text), start + rng.randint(least, 60))
        whole = end == len(text) or not unicodedata.category(text[end]).startswith("M")
        if text[start].isalnum() and text[end - 1].isalnum() and whole and text.count(text[start:end]) == 1:
            return start, end


def reflowed(quote: str, rng: random.Random) -> str:
    if quote.split() == [quote]:
        at = next((at for at in range(1, len(quote)) if quote[at - 1].isalpha() and quote[at].isalpha()), 1)
        return quote[:at] + "\n" + quote[at:]
    return rng.choice(["\n", "  ", "\u00a0", " \t ", "\r\n"]).join(quote.split())


def requoted(quote: str) -> str:
    changed = "".join(REQUOTED.get(char, char) for char in quote)
    return changed if changed != quote else unicodedata.normalize("NFKC", quote)


def invented(quote: str, rng: random.Random) -> str:
    """The same with one letter or digit changed, or words in another order."""
    at = rng.choice([at for at, char in enumerate(quote) if char.isalnum()])
    other = "7" if quote[at] != "7" else "4"
    return quote[:at] + (other if quote[at].isdigit() else "Q" if quote[at] != "Q" else "Z") + quote[at + 1 :]


def simulated(count: int) -> list[tuple[str, str, str, Match, tuple[int, int] | None]]:
    """Kind, text, quote, its true class and its true span, of simulated answers."""
    rng = random.Random(24)
    languages = list(DOCUMENTS)
    made = []
    while len(made) < count:
        language = languages[len(made) % len(languages)]
        text = document(language, rng.randint(100, 999))
        start, end = span_of(text, rng)
        quote = text[start:end]
        kind = ("exact", "reflowed", "re-quoted", "invented", "other script")[len(made) // len(languages) % 5]
        if kind == "exact":
            made.append((kind, text, quote, Match.EXACT, (start, end)))
        elif kind == "invented":
            made.append((kind, text, invented(quote, rng), Match.NONE, None))
        elif kind == "other script":
            other = document(languages[(languages.index(language) + 3) % len(languages)], 55)
            said = other[slice(*span_of(other, rng, 16))]
            made.append((kind, text, said, Match.NONE, None))
        else:
            said = reflowed(quote, rng) if kind == "reflowed" else requoted(quote)
            match = Match.EXACT if said == quote else Match.NORMALIZED
            made.append((kind, text, said, match, (start, end)))
    return made


def test_two_thousand_quotes_of_known_truth_are_classified_rightly():
    """Exact, reflowed, re-quoted, invented and other script, in nine languages: each has its class and its place."""
    kinds = set()
    for kind, text, quote, match, span in simulated(2_000):
        (found,) = locate([Quoted(quote)], {"body": SourceText(text)})
        told = Match.NONE if found is None else found.match
        assert told is match, (kind, quote, found)
        assert (found and (found.start, found.end)) == span, (kind, text, quote, found)
        if found is not None:
            assert text[found.start : found.end] == found.text
            assert found.text == quote or match is Match.NORMALIZED
        kinds.add((kind, match))
    assert ("re-quoted", Match.NORMALIZED) in kinds
    assert ("reflowed", Match.NORMALIZED) in kinds


def test_repeated_quotes_of_known_truth_are_placed_rightly():
    """Bills whose lines repeat names, amounts and prices: each field's quote is that of its own line."""
    rng = random.Random(7)
    for _ in range(300):
        lines = [
            (rng.choice("ABCDEFGHJK") + "-part", rng.choice("234"), rng.choice(["5.00", "7.50"])) for _ in range(6)
        ]
        text, quotes, truth = "Bill\n", [], []
        for at, (name, amount, price) in enumerate(lines):
            for word in (f"{at + 11}: ", name, " x ", amount, " at ", price, "\n"):
                if word in (name, amount, price):
                    quotes.append(Quoted(word, f"/lines/{at}"))
                    truth.append(len(text))
                text += word
        found = locate(quotes, {"body": SourceText(text)})
        assert [span and span.start for span in found] == truth, text


@given(st.text(max_size=80), st.text(max_size=12), st.integers(0, 80), st.integers(0, 80))
def test_an_exact_span_is_the_quote_and_a_normalized_one_the_sources_own_text(text, other, one, two):
    """text[start:end] is what is told, whatever stands there; it is the quote where the match is exact."""
    for quote in (text[min(one, two) : max(one, two)], other, text + other, other + text):
        (found,) = locate([Quoted(quote)], {"body": SourceText(text)})
        if found is None:
            assert quote not in text or not quote.strip()
            continue
        assert text[found.start : found.end] == found.text
        assert (found.text == quote) is (found.match is Match.EXACT) or found.match is Match.NORMALIZED
        assert same_passage(found.text, quote)
        assert found.start < found.end


PLACED = {
    "in turn": ("2 nuts, 2 bolts, 2 pins", [("2", ""), ("2", ""), ("2", "")], [0, 8, 17]),
    "beside the name behind": (
        "Nut: 5.00\nBolt: 5.00\nPin: 5.00",
        [("Nut", "/0"), ("5.00", "/0"), ("Bolt", "/1"), ("5.00", "/1"), ("Pin", "/2"), ("5.00", "/2")],
        [0, 5, 10, 16, 21, 26],
    ),
    "beside the name before": (
        "5.00  Nut\n5.00  Bolt\n5.00  Pin",
        [("Nut", "/0"), ("5.00", "/0"), ("Bolt", "/1"), ("5.00", "/1"), ("Pin", "/2"), ("5.00", "/2")],
        [6, 0, 16, 10, 27, 21],
    ),
    "in the order of the answer": (
        "Nut: 5.00\nBolt: 5.00", [("5.00", "/0"), ("Bolt", "/0"), ("5.00", "/1"), ("Nut", "/1")], [16, 10, 5, 0],
    ),
    "one without a price": (
        "Nut: n/a\nBolt: 5.00\nPin: 5.00", [("Nut", "/0"), ("Pin", "/1"), ("5.00", "/1")], [0, 20, 25],
    ),
    "all of a line repeated": (
        "2 x 5.00\n2 x 5.00", [("2", "/0"), ("5.00", "/0"), ("2", "/1"), ("5.00", "/1")], [0, 4, 9, 13],
    ),
    "whole numbers first": ("2012: 15 of 5 and 5", [("5", ""), ("5", "")], [12, 18]),
    "more fields than places": ("EUR 5.00", [("EUR", ""), ("5.00", ""), ("EUR", ""), ("EUR", "")], [0, 4, 0, 0]),
    "overlapping": ("due on 3 May 2024", [("due on 3 May", ""), ("3 May 2024", ""), ("May", "")], [0, 7, 9]),
    "japanese lines": (
        "りんご　１００円\nみかん　１００円", [("りんご", "/0"), ("100円", "/0"), ("みかん", "/1"), ("100円", "/1")], [0, 4, 9, 13],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PLACED)
def test_a_repeated_quote_is_placed_beside_its_neighbours(case):
    """In the order of the document, beside the quotes of its own object, no place twice as long as there are enough."""
    text, quotes, starts = PLACED[case]
    found = locate([Quoted(quote, parent) for quote, parent in quotes], {"body": SourceText(text)})
    assert [span and span.start for span in found] == starts


def test_a_quote_is_looked_up_in_each_column():
    """The column that has it as it is comes before one that has it typeset differently, whatever their order."""
    sources = {"subject": SourceText("Order of\n5 chairs"), "body": SourceText("We want an order. Order of 5 chairs")}
    found = locate([Quoted("Order of 5 chairs"), Quoted("We want"), Quoted("6 chairs")], sources)
    assert [(span.column, span.start, span.match) for span in found[:2] if span] == [
        ("body", 18, Match.EXACT), ("body", 0, Match.EXACT),
    ]  # fmt: skip
    assert found[2] is None


@pytest.mark.parametrize(
    ("text", "quote", "found"),
    [
        ("two cogs - and", "“cogs”", "cogs"), ("he said “yes” -", '"yes"', "“yes”"), ("at –5 °C", "-5 °C", "–5 °C"),
        ("at 5 °C", "-5 °C", None), ("a ‘-5’ b", "'−5'", "‘-5’"), ("pre- and post-war", "pre‑", "pre-"), ("- item", "‑ item", "- item"),
        ("“\u200b yes", '"yes', "“\u200b yes"), ("x “ - 5", '"-5', "“ - 5"),
    ],
)  # fmt: skip
def test_the_marks_around_a_quote_are_part_of_it(text, quote, found):
    """Quotation marks and hyphens at its ends that the source has there too; a minus that is not there is missed."""
    (span,) = locate([Quoted(quote)], {"body": SourceText(text)})
    assert (span and span.text) == found


@pytest.mark.parametrize("quote", ["", " ", "\n\t", "\u200b", '"', "-", "\u00ad\u00ad"])
def test_a_quote_that_says_nothing_is_no_evidence(quote):
    """Empty quotes, blanks and marks alone are found nowhere but as they are."""
    assert locate([Quoted(quote)], {"body": SourceText("a text without any of them.")}) == [None]


NESTED = {"from": "Ada", "body": 'Line one\nshe said "yes"\tto C:\\\\new\n5 cogs', "\u0001": "é"}


@pytest.mark.parametrize(
    ("quote", "found", "match"),
    [
        ("Line one", "Line one", Match.EXACT),
        ("Line one\nshe said", "Line one\\nshe said", Match.NORMALIZED),
        ("Line one she", "Line one\\nshe", Match.NORMALIZED),
        ('said "yes"', 'said \\"yes\\"', Match.NORMALIZED),
        ("said “yes”", 'said \\"yes\\"', Match.NORMALIZED),
        ("to C:\\\\new", "to C:\\\\\\\\new", Match.NORMALIZED),
        ('"yes"\tto', '\\"yes\\"\\tto', Match.NORMALIZED),
        ("one\\nshe", "one\\nshe", Match.EXACT),
        ("onenshe", None, None),
        ("nshe said", None, None),
        ("new\n5", "new\\n5", Match.NORMALIZED),
        ("é", "é", Match.EXACT),
    ],
)
def test_a_quote_from_within_an_object_is_found_in_its_json_text(quote, found, match):
    """A column that is an object or a list is JSON: what stands there escaped is the same passage, and never exact."""
    text = json.dumps(NESTED, ensure_ascii=False, separators=(",", ":"))
    (span,) = locate([Quoted(quote)], {"mail": SourceText(text)})
    assert (span and (span.text, span.match)) == (found and (found, match))
    if span is not None:
        assert text[span.start : span.end] == span.text


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=40), max_size=3), st.integers(0, 40), st.integers(0, 40))
def test_any_passage_of_a_text_in_an_object_is_found(held, one, two):
    """Whatever stands in it; a span is the source's own text, and exact where it is the quote."""
    text = json.dumps(held, ensure_ascii=False)
    for said in held.values():
        quote = said[min(one, two) : max(one, two)]
        (span,) = locate([Quoted(quote)], {"column": SourceText(text)})
        assert span is not None or not quote.strip()
        if span is not None:
            assert text[span.start : span.end] == span.text
            assert (span.text == quote) is (span.match is Match.EXACT)


@pytest.mark.parametrize(
    ("text", "quote", "found"),
    [
        ('{"k": "delta\\nfoo"}', "delta foo", "delta\\nfoo"),
        ('[{"k": "\\u8acb\\u6c42\\ud83d\\ude00"}]', "請求😀", "\\u8acb\\u6c42\\ud83d\\ude00"),
        ('[{"k": "\\u8acb\\u6c42"}]', "求", "\\u6c42"),
        ("{not JSON: delta\\nfoo}", "delta foo", None),
    ],
)
def test_a_text_that_is_json_is_read_as_json(text, quote, found):
    """What stands escaped in a column of JSON text is the passage that a model reads there."""
    (span,) = locate([Quoted(quote)], {"column": SourceText(text)})
    assert (span and span.text) == found


def test_a_column_where_a_quote_cuts_a_number_comes_after_one_where_it_cuts_none():
    """A 5 of its own in the second column is meant, not the one in 2015."""
    sources = {"year": SourceText("2015"), "text": SourceText("5 cogs"), "odd": SourceText("15")}
    (span,) = locate([Quoted("5")], sources)
    assert span is not None
    assert (span.column, span.start) == ("text", 0)


LARGE = 1_000_000
HOSTILE: dict[str, Callable[[int], tuple[str, str]]] = {
    "ones": lambda size: ("1 " * (size // 2), "1" * (size // 4)),
    "letters": lambda size: ("a" * size, "a" * 40 + "b"),
    "blanks": lambda size: (" " * size, "a  b"),
    "marks": lambda size: ("e" + "\u0301" * (size // 4), "é x"),
    "marks in turn": lambda size: ("e" + "\u0301\u0323" * (size // 8), "é x"),
    "marks in turn, quoted": lambda size: ("e\u0301 x" * 9, "e" + "\u0301\u0323" * (size // 8)),
    "marks in turn, both": lambda size: ("e" + "\u0301\u0323" * (size // 8), "e\n" + "\u0301\u0323" * (size // 8)),
    "pairs": lambda size: ("ab" * (size // 2), "ab" * (size // 20) + "a a"),
    "hyphens": lambda size: ("-" * size, "a" + "-" * (size // 2)),
    "fullwidth": lambda size: ("ＡＢＣ１２３　" * (size // 7), "ABC1 23"),
    "quote of a megabyte": lambda size: ("ab c\n" * (size // 5), "ab c " * (size // 5)),
    "voicing": lambda size: ("ﾊﾞ" * (size // 8), "バ" * 1_000 + "x"),
    "letters beyond": lambda size: ("𝐀" * (size // 8), "A" * 500 + "B"),
    "quotes around": lambda size: ("a" + "'" * size, "'" * size + "b"),
}


def seconds(text: str, quotes: list[str]) -> float:
    started = time.process_time()
    locate([Quoted(quote) for quote in quotes], {"body": SourceText(text)})
    return time.process_time() - started


@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_makes_the_search_quadratic(case):
    """Eight times the text and the quote take eight times as long and not 64 times: with much room for a busy machine."""
    few, many = HOSTILE[case](LARGE // 8), HOSTILE[case](LARGE)
    small = min(seconds(few[0], [few[1]]) for _ in range(3))
    large = min(seconds(many[0], [many[1]]) for _ in range(2))
    assert large < 48 * max(small, 0.01)


def test_many_equal_quotes_take_no_longer_than_their_number():
    """Ten thousand fields with the same quote each find a place of their own."""
    text = "5.00\n" * 10_000
    found = locate([Quoted("5.00", f"/{n}") for n in range(10_000)], {"body": SourceText(text)})
    assert [span and span.start for span in found] == list(range(0, 50_000, 5))
    same = locate([Quoted("5.00") for _ in range(10_000)], {"body": SourceText(text)})
    assert [span and span.start for span in same] == list(range(0, 50_000, 5))
