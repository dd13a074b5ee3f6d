"""Time zone: a zone of the IANA database by its name, as a job file tells it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator


def known_zone(name: str) -> str:
    """The name, where there is such a zone. Raises ValueError, with names that are close."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        known = {one.casefold(): one for one in available_timezones()}
        cities = {one.rpartition("/")[2]: known[one] for one in known}
        close = get_close_matches(name.casefold().replace(" ", "_"), {**known, **cities}, 1)
        told = f"did you mean {({**cities, **known})[close[0]]}?" if close else "write it as Europe/Berlin, or UTC"
        raise ValueError(f"{name!r} is no time zone: {told}") from None
    return name


TimeZone = Annotated[str, AfterValidator(known_zone)]
