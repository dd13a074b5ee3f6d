"""The live display: what it shows, and that it fits any terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rowmill.flows.text.display import lines, parts
from rowmill.schemas.job_sections import Limits
from rowmill.schemas.price import PICO
from rowmill.tasks.gateway.admission.traffic import Traffic
from rowmill.tasks.run.progress import Progress

LIMITS, NONE = Limits(rpm=600, tpm=2_000_000), Limits()
BUSY = Traffic(
    in_flight=64, limit=80, calls=580.4, tokens=1_200_000, waiting_for="rate limit",
    opens_in=12.0, retrying=3, lately=(("rate_limit_exceeded", 4), ("upstream_error", 1)),
)  # fmt: skip


def progress(**told) -> Progress:
    return Progress(
        **{"total": 1_000, "settled": 250, "usd": PICO // 2, "cap_usd": 5 * PICO, "started_at": 0.0, **told}
    )


def test_it_says_how_fast_how_dear_and_why_it_waits():
    """Rows, speed, time left, money of the cap, calls in flight, limits used, retries, the wait with its end, failures."""
    told = " · ".join(parts(progress(not_ok=7), BUSY, LIMITS, now=100.0))
    for words in (
        "250/1,000 rows", "25 %", "2.5 rows/s", "1:40 min", "5:00 min left", "$0.5000 of $5.00", "7 not ok",
        "64 in flight of 80", "580 calls a minute of 600", "1,200,000 tokens a minute of 2,000,000", "3 retrying",
        "waiting: rate limit, next try in 12.0 s", "recently 4 rate_limit_exceeded, 1 upstream_error",
    ):  # fmt: skip
        assert words in told, words


def test_what_is_not_known_is_not_said():
    """Without limits, a cap or a failure there is no word of them; a full house of calls is no wait."""
    full = Traffic(in_flight=32, limit=32, waiting_for="concurrency")
    told = " · ".join(parts(progress(cap_usd=None), full, NONE, now=100.0))
    assert "of $" not in told
    assert "minute" not in told.replace("min left", "").replace("min ·", "")
    assert "waiting" not in told
    assert "lately" not in told


@given(
    width=st.integers(20, 250), total=st.integers(0, 10**9), share=st.floats(0, 1), usd=st.integers(0, 10**18),
    elapsed=st.floats(0, 10**6),
)  # fmt: skip
def test_lines_break_between_parts_at_any_width(width, total, share, usd, elapsed):
    """No line is wider than the terminal, unless one part alone is; the bar never is."""
    told = lines(Progress(total=total, settled=int(total * share), usd=usd), BUSY, LIMITS, now=elapsed, width=width)
    whole = parts(Progress(total=total, settled=int(total * share), usd=usd), BUSY, LIMITS, now=elapsed)
    if total:
        assert len(told[0]) <= width
    for line in told[1 if total else 0 :]:
        assert len(line) <= width or line in whole
    assert " · ".join(told[1 if total else 0 :]) == " · ".join(whole)


def test_an_empty_input_has_no_bar_and_no_division():
    """Nothing to do is 100 %."""
    assert "0/0 rows · 100 %" in " · ".join(lines(Progress(), Traffic(), NONE, now=0.0, width=100))
