"""Written date: whether a passage names a day, by numbers in any order, by months' names, by the years of an era."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rowmill.tasks.answers.era_year import with_era_years
from rowmill.tasks.answers.normal_form import normalized
from rowmill.tasks.answers.numerals import KANJI, kanji_numbers, plain_numbers

NUMBERS_MOST = 40
_DIGITS = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]+")
# How the names of the twelve months begin, a language a line.
_BEGINNINGS = tuple(line.split() for line in (
    "jan feb mar apr may jun jul aug sep oct nov dec",  # English
    "jän feb mär apr mai jun jul aug sep okt nov dez",  # German
    "jan fév mars avr mai juin juil aoû sep oct nov déc",  # French
    "jan fev mars avr mai juin juil aou sep oct nov dec",
    "ene feb mar abr may jun jul ago set oct nov dic",  # Spanish
    "gen feb mar apr mag giu lug ago set ott nov dic",  # Italian
    "jan fev mar abr mai jun jul ago set out nov dez",  # Portuguese
    "jan feb maa apr mei jun jul aug sep okt nov dec",  # Dutch
    "jan feb mrt apr maj jun jul aug sep okt nov des",  # Swedish, Danish, Norwegian
    "tammi helmi maalis huhti touko kesä heinä elok syys loka marras joulu",  # Finnish
    "sty lut mar kwi maj czerw lip sie wrz paź lis gru",  # Polish
    "led únor břez dub květ červn červenc srp září říj lis pros",  # Czech
    "jan feb mar apr máj jún júl aug sep okt nov dec",  # Slovak
    "sij velj ožuj trav svib lipanj srp kolo ruj listop stud pros",  # Croatian
    "jan feb már ápr máj jún júl aug szep okt nov dec",  # Hungarian
    "ian feb mar apr mai iun iul aug sep oct noi dec",  # Romanian
    "ocak şub mar nisa may haz temmu ağu eyl ekim kası aral",  # Turkish
    "jan feb mac apr mei jun jul ogos sep okt nov dis",  # Malay
    "jan feb mar apr mei jun jul agu sep okt nov des",  # Indonesian
    "янв фев мар апр мая июн июл авг сен окт ноя дек",  # Russian
    "янв фев мар апр май июн июл авг сен окт ноя дек",
    "січ лют бер кві тра чер лип сер вер жов лис гру",  # Ukrainian
    "ιαν φεβ μαρ απρ μαι ιουν ιουλ αυγ σεπ οκτ νοε δεκ",  # Greek
    "ιαν φεβ μάρ απρ μαΐ ιούν ιούλ αύγ σεπ οκτ νοέ δεκ",
))  # fmt: skip
_BY_BEGINNING: dict[str, set[int]] = {}
for _line in _BEGINNINGS:
    for _month, _beginning in enumerate(_line, 1):
        _BY_BEGINNING.setdefault(_beginning, set()).add(_month)
_BEGINNING_CHARS = range(min(map(len, _BY_BEGINNING)), max(map(len, _BY_BEGINNING)) + 1)
# The whole names, in scripts whose letters do not tell where a word ends.
_NAMES = tuple(normalized("NFKC", line).split(", ") for line in (
    "يناير, فبراير, مارس, أبريل, مايو, يونيو, يوليو, أغسطس, سبتمبر, أكتوبر, نوفمبر, ديسمبر",  # Arabic
    "يناير, فبراير, مارس, ابريل, مايو, يونيه, يوليه, اغسطس, سبتمبر, اكتوبر, نوفمبر, ديسمبر",
    "كانون الثاني, شباط, آذار, نيسان, أيار, حزيران, تموز, آب, أيلول, تشرين الأول, تشرين الثاني, كانون الأول",
    "ژانویه, فوریه, مارس, آوریل, مه, ژوئن, ژوئیه, اوت, سپتامبر, اکتبر, نوامبر, دسامبر",  # Persian
    "ינואר, פברואר, מרץ, אפריל, מאי, יוני, יולי, אוגוסט, ספטמבר, אוקטובר, נובמבר, דצמבר",  # Hebrew
    "जनवरी, फरवरी, मार्च, अप्रैल, मई, जून, जुलाई, अगस्त, सितंबर, अक्टूबर, नवंबर, दिसंबर",  # Hindi
    "जनवरी, फ़रवरी, मार्च, अप्रैल, मई, जून, जुलाई, अगस्त, सितम्बर, अक्तूबर, नवम्बर, दिसम्बर",
    "มกราคม, กุมภาพันธ์, มีนาคม, เมษายน, พฤษภาคม, มิถุนายน, กรกฎาคม, สิงหาคม, กันยายน, ตุลาคม, พฤศจิกายน, ธันวาคม",  # Thai
    "ม.ค, ก.พ, มี.ค, เม.ย, พ.ค, มิ.ย, ก.ค, ส.ค, ก.ย, ต.ค, พ.ย, ธ.ค",
))  # fmt: skip
_NAME_MOST_CHARS = 12
_KANJI_PART = re.compile(rf"[{KANJI}]+(?=[年月日号號])")
_ROMAN_MONTH = re.compile(r"(?<=[\d.\s/-])(X?V?I{1,3}|I?[VX]|XI{0,2})(?=[.\s/-]+\d)")
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
# Calendars that count their years otherwise: the Buddhist, whose days and months are these, and those of Islam.
_BUDDHIST, _THAI = 543, re.compile("[\u0e00-\u0e7f]|\\bB\\.?E\\b")
_ISLAMIC_YEARS, _ARABIC = range(1_300, 1_500), re.compile("[\u0600-\u06ff]|\\bA\\.?H\\b|\\bSH\\b")
_OUR_YEARS = range(1_500, 2_400)
# Days told by their weeks, and words by which a date is told from another one.
_WEEK = re.compile(r"\bW\d\d", re.IGNORECASE)
_RELATIVE = re.compile(
    r"\b(?:days?|weeks?|months?|years?|after|before|within|from|ago|next|last|later|earlier|following|prior|previous|yesterday|tomorrow"
    r"|tage?n?|wochen?|monate?n?|jahre?n?|nach|vor|binnen|innerhalb|später|gestern|morgen|folgenden|jours?|semaines?|mois|ans?|après|avant"
    r"|hier|demain|suivant|d[ií]as?|semanas?|mes(?:es)?|años?|después|antes|ayer|mañana|giorn[oi]|settiman[ae]|mes[ei]|dopo|prima|ieri"
    r"|domani|após|depois|ontem|amanhã|dag(?:en|ar|er|e)?|weken|maand(?:en)?|na|voor|sinds|efter|før|före|etter|etmek|gün|hafta|sonra|önce"
    r"|päivää|viikkoa|jälkeen|ennen|nap|hét|után|előtt|dni|dnů|przed|tygodn\w+|дн\w+|недел\w+|месяц\w*|после|через|до|спустя|вчера|завтра"
    r"|днів|після|ημέρες|μετά|πριν|hari|setelah"
    r"|sebelum|ngày sau|sau|trước|दिन|बाद|पहले|يوم\w*|أيام|بعد|قبل|ימים|אחרי|לפני)(?!\w)"
    r"|[翌昨]|明日|[日週周天月年]間?以?[前後后内]|之[前后]|이내|[전후]|วัน(?:หลัง|ก่อน)|หลัง|ก่อน",
    re.IGNORECASE,
)


def holds_date(year: int, month: int, day: int, *, quote: str) -> bool | None:
    """True where the passage names this day, False where its numbers are those of others, None where that cannot be
    decided: words, a month in a language that is not known here, another calendar.
    """
    text = _KANJI_PART.sub(_in_digits, plain_numbers(quote))
    years = (year, year + _BUDDHIST) if _THAI.search(quote) else (year,)
    found = {_names_day(one, month, day, text=form) for one in years for form in {text, with_era_years(text)}}
    if True in found:
        return True
    doubted = None in found or _has_other_calendar(text) or _WEEK.search(text) or _RELATIVE.search(text)
    return None if doubted else False


def _has_other_calendar(text: str) -> bool:
    """Whether a year may be one of Islam's: in its scripts, or where no other year is told."""
    years = [int(one) for one in _DIGITS.findall(text)[:NUMBERS_MOST] if len(one) == 4]
    islamic = any(year in _ISLAMIC_YEARS for year in years)
    return islamic and (_ARABIC.search(text) is not None or not any(year in _OUR_YEARS for year in years))


def _names_day(year: int, month: int, day: int, *, text: str) -> bool | None:
    numbers = [int(one) for one in _DIGITS.findall(text)[:NUMBERS_MOST] if len(one) <= 8]
    if not numbers:
        return None
    if int(f"{year:04}{month:02}{day:02}") in numbers:
        return True
    names = set(_months(text))
    has_year = year in numbers or year % 100 in numbers
    others = [one for one in numbers if one not in (year, year % 100)] if year % 100 not in (day, month) else numbers
    left = list(others)
    by_numbers = has_year
    for one in (day, month):
        by_numbers &= one in left
        if one in left:
            left.remove(one)
    if by_numbers or (month in names and day in numbers and has_year):
        return True
    if len(numbers) < (2 if names else 3) or (not names and _has_unknown_month(text)):
        return None
    return False


def _in_digits(written: re.Match[str]) -> str:
    for whole, number in kanji_numbers(written[0]):
        if whole == written[0]:
            return str(number)
    return written[0]


def _months(text: str) -> Iterator[int]:
    """Months that a text may name."""
    for word in _WORD.findall(text.casefold()):
        if len(word) <= _NAME_MOST_CHARS:
            for size in _BEGINNING_CHARS:
                yield from _BY_BEGINNING.get(word[:size], ())
    if not text.isascii():
        for names in _NAMES:
            yield from (at for at, name in enumerate(names, 1) if name in text)
    for found in _ROMAN_MONTH.finditer(text):
        if found[1] in _ROMAN:
            yield _ROMAN.index(found[1]) + 1


def _has_unknown_month(text: str) -> bool:
    """Whether words beside the numbers may name a month in a language that is not known here."""
    return any(len(word) > 2 for word in _WORD.findall(text))
