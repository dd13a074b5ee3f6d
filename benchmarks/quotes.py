"""Quotes: what it takes to locate one that is typeset differently, by script, in 4 kB and in a megabyte of UTF-8.

A ratio to one pass over the same text in Python (`sum(map(ord, text))`): times on a busy machine say little.
"""

from __future__ import annotations

import json
import random
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import ROOT
from rowmill.schemas.evidence import Match
from rowmill.tasks.answers.source_text import SourceText

SIZES = {"4 kB": 4_000, "1 MB": 1_000_000}
TIMES = {"4 kB": 200, "1 MB": 7}
VIETNAMESE = "Hóa đơn số 123 ngày 3 tháng 5. Tổng cộng là 1.123 đồng, thanh toán trong vòng ba mươi ngày. "
KOREAN = "청구서 번호 123 (2024년 5월 3일). 합계 금액은 1123원이며 ‘30일’ 이내에 지불해 주십시오. "
# A character with what becomes one with it: accents, vowels and finals of Hangul, halfwidth voicing marks.
LETTER = "(?:[^\u0300-\u036f\u1160-\u11ff\uff9e\uff9f][\u0300-\u036f\u1160-\u11ff\uff9e\uff9f]*)"
WIDE = str.maketrans({chr(point): chr(point + 0xFEE0) for point in range(0x21, 0x7F)})


def main(_: Path) -> None:
    """Print a line for each text: milliseconds and ratio."""
    for name, sample in samples().items():
        told = []
        for size, count in SIZES.items():
            text = grown(sample, count)
            quote = next(quotes(text))
            took = least(lambda text=text, quote=quote: SourceText(text).places(quote), TIMES[size])  # type: ignore[misc]
            base = least(lambda text=text: sum(map(ord, text)), TIMES[size])  # type: ignore[misc]
            told.append(f"{size}: {took * 1e3:.3f} ms, ratio {took / base:.2f}")
        print(f"{name:<30} {'; '.join(told)}", flush=True)


def quotes(text: str) -> Iterator[str]:
    """Quotes with a soft hyphen and a line break in them, which are found in normal form alone."""
    for at in range(len(text) // 3, len(text)):
        quote = f"{text[at - 30 : at]}\u00ad\n{text[at : at + 30]}"
        if SourceText(text).places(quote)[0] is Match.NORMALIZED:
            yield quote


def samples() -> dict[str, str]:
    """The sample's documents, and texts that NFKC changes a lot."""
    news, notices = documents("news.jsonl"), documents("notices.jsonl")
    bill = "請求書番号：第１２３号（令和６年５月３日）ご請求金額は金１２，１２３円（税込）です。"
    return {
        "English notices": notices,
        "Japanese news": news,
        "Japanese, fullwidth": bill + news[:400].translate(WIDE),
        "Japanese, halfwidth kana": "ｺﾞｾｲｷｭｳｶﾞｸﾊ１２，３４５ｴﾝﾃﾞｽ。ﾄﾞｳｿﾞﾖﾛｼｸｵﾈｶﾞｲｼﾏｽ。",
        "Vietnamese": VIETNAMESE,
        "Vietnamese, decomposed": unicodedata.normalize("NFD", VIETNAMESE),
        "Korean": KOREAN,
        "Korean, decomposed": unicodedata.normalize("NFD", KOREAN),
        "Hindi": "चालान संख्या 123 दिनांक 3 मई 2024। कुल राशि 1123 रुपये है, कृपया तीस दिन में भुगतान करें। ",
        "Arabic": "فاتورة رقم 123 بتاريخ 3 مايو 2024. المبلغ الإجمالي هو 1123 ريال سعودي فقط لا غير. ",
    }  # fmt: skip


def documents(name: str) -> str:
    """All texts of one job of the sample."""
    lines = (ROOT / "sample_data/documents" / name).read_text(encoding="utf-8").splitlines()
    return "\n".join(json.loads(line)["text"] for line in lines)


def grown(sample: str, size: int) -> str:
    """So many bytes of the sample's pieces in any order, so that no passage stands in it twice."""
    rng, pieces, left = random.Random(5), [], size
    while left > 0:
        at = rng.randrange(max(1, len(sample) - 20))
        # No letter without its marks, and none of the sample's marks behind a digit.
        whole = re.search(f"{LETTER}{{5,{rng.randint(5, 40)}}}", sample[at:])
        piece = (whole[0] if whole else sample[:20]) + str(rng.randint(1, 99_999))
        pieces.append(piece)
        left -= len(piece.encode())
    return "".join(pieces).encode()[:size].decode(errors="ignore")


def least(call: Callable[[], object], times: int) -> float:
    """CPU seconds of the quickest of some calls."""
    found = []
    for _ in range(times):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return min(found)
