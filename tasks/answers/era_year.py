"""Era year: years that are counted from the beginning of an era, as in Japan and Taiwan: 令和6年 is 2024."""

from __future__ import annotations

import re
from collections.abc import Iterator

# The year before an era's first, by how the era is written.
_ERAS = {
    2018: ("令和", "令", "reiwa", "r"),
    1988: ("平成", "平", "heisei", "h"),
    1925: ("昭和", "昭", "showa", "shōwa", "s"),
    1911: ("大正", "大", "taisho", "taishō", "t", "民國", "民国"),
    1867: ("明治", "明", "meiji", "m"),
}
_YEAR_BEFORE = {name: year for year, names in _ERAS.items() for name in names}
_ERA_YEAR = re.compile(
    r"(令和|平成|昭和|大正|明治|民[國国]|reiwa|heisei|sh[oō]wa|taish[oō]|meiji)\s*(元|\d{1,3})\s*年?"
    r"|(?<!\w)([令平昭大明RHSTM])\s?\.?(元|\d{1,2})(?=\s?[./年-]\s?\d)",
    re.IGNORECASE,
)


def with_era_years(text: str) -> str:
    """A text with the years of eras as years of our own."""
    return _ERA_YEAR.sub(lambda found: f" {_year(found)} ", text)


def era_years(text: str) -> Iterator[int]:
    """The years that a text tells by eras."""
    return map(_year, _ERA_YEAR.finditer(text))


def _year(found: re.Match[str]) -> int:
    era, count = (found[1], found[2]) if found[1] else (found[3], found[4])
    return _YEAR_BEFORE[era.lower()] + (1 if count == "元" else int(count))
