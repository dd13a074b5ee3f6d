"""Media: what a forecast tells of a job's media before any call, beside what each documented rule bills for them."""

from __future__ import annotations

import json
import random
import struct
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import numpy as np

from rowmill.sandbox import generate_content
from rowmill.sandbox.reply import compose
from rowmill.sandbox.settings import Settings
from rowmill.schemas.catalogue import MEDIA_TOKENS, builtin_catalogue
from rowmill.schemas.forecast import Interval
from rowmill.schemas.job import Job
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.forecast.regression import Rest, project
from rowmill.tasks.plan.planner import Planner

FILES, MODEL = 200, "gemini-3-flash"
# Of a pilot: USD of a token, and the guess of an answer's tokens by which its rows are drawn.
IN, OUT, GUESS = 0.8e-6, 4.8e-6, 300.0
BATCHES, ROWS = 200, 3_000
Make = Callable[[random.Random], tuple[str, bytes]]


def image(smallest: int, largest: int) -> Make:
    def make(rng: random.Random) -> tuple[str, bytes]:
        width = rng.randint(smallest, largest)
        size = struct.pack(">II", width, max(1, round(width * rng.choice((0.56, 0.67, 0.75, 1.0, 1.33)))))
        return "image/png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size + bytes(9)

    return make


def document(rng: random.Random) -> tuple[str, bytes]:
    pages = min(200, round(rng.lognormvariate(1.5, 1.0)) + 1)
    return "application/pdf", f"%PDF-1.4\n1 0 obj << /Type /Pages /Count {pages} >> endobj".encode() + bytes(
        pages * 40_000
    )


def damaged(rng: random.Random) -> tuple[str, bytes]:
    """One whose pages cannot be found."""
    return "application/pdf", b"%PDF-1.4" + bytes(round(rng.lognormvariate(12, 1)))


def sound(rng: random.Random) -> tuple[str, bytes]:
    samples = 8_000 * rng.randint(2, 30)
    head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + struct.pack("<IIHH", 8_000, 8_000, 1, 8)
    return "audio/wav", head + b"data" + struct.pack("<I", samples) + bytes(samples)


def film(rng: random.Random) -> tuple[str, bytes]:
    head = (
        struct.pack(">I4s", 32, b"mvhd") + bytes(12) + struct.pack(">II", 1_000, rng.randint(3_000, 90_000)) + bytes(4)
    )
    return "video/mp4", b"\0\0\0\x10ftypmp42\0\0\0\0" + struct.pack(">I4s", 8 + len(head) + 4, b"moov") + head + b"soun"


KINDS: dict[str, tuple[Make, str | None]] = {
    "icons, to 384 px wide": (image(16, 384), None),
    "photos, 600 to 1,600 px": (image(600, 1_600), None),
    "scans, 2,000 to 4,000 px": (image(2_000, 4_000), None),
    "photos at `low`": (image(600, 1_600), "MEDIA_RESOLUTION_LOW"),
    "PDFs": (document, None),
    "PDFs whose pages cannot be found": (damaged, None),
    "WAV": (sound, None),
    "MP4 with sound": (film, None),
}


def main() -> None:
    """200 files of each kind, seed 0: told before any call, and the bill by Google's rules for Gemini 3 and 2."""
    print("| media | told a file | interval | billed by Gemini 3's rule | by Gemini 2's | a fixed 1,120 would be off |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (make, resolution) in KINDS.items():
        rng = random.Random(0)
        requests = [_request(make(rng), resolution) for _ in range(FILES)]
        told, low, high = (sum(one.media_tokens[at] for one in requests) / FILES for at in range(3))
        third, second = (sum(_billed(one, rule) for one in requests) / FILES for rule in ("gemini-3", "gemini-2"))
        off = f"{MEDIA_TOKENS / third - 1:+.0%}, {MEDIA_TOKENS / second - 1:+.0%}"
        print(f"| {name} | {told:,.0f} | {low:,.0f} to {high:,.0f} | {third:,.0f} | {second:,.0f} | {off} |")
    _after_a_pilot()


def _after_a_pilot() -> None:
    """Intervals of a pilot's forecast, in 200 batches of 3,000 rows: two in five with an image, three in ten a PDF."""
    for rule in ("gemini-3", "gemini-2"):
        for count in (60, 200):
            held, widths = 0, []
            for seed in range(BATCHES):
                told, total = _batch(np.random.default_rng(seed), rule, count, seed=seed)
                held += told.low <= total <= told.high
                widths.append((told.high - told.low) / 2 / total)
            print(f"billed by {rule}, {count} rows asked: held {held / BATCHES:.1%}, ±{np.median(widths):.0%}")


def _batch(rng: np.random.Generator, rule: str, count: int, *, seed: int) -> tuple[Interval, float]:
    text, kind, pages = rng.lognormal(4.5, 0.6, ROWS), rng.random(ROWS), np.ceil(rng.lognormal(1.5, 1, ROWS))
    expected = np.where(kind < 0.4, MEDIA_TOKENS, np.where(kind < 0.7, 560 * pages, 0))
    cut = 258 * np.where(kind < 0.2, 1, np.where(kind < 0.4, rng.integers(4, 17, ROWS), np.where(kind < 0.7, pages, 0)))
    costs = (text + (expected if rule == "gemini-3" else cut)) * IN + rng.lognormal(5, 0.6, ROWS) * OUT
    sizes = (text + expected) * IN + GUESS * OUT
    order = np.argsort(rng.random(ROWS) / sizes)
    sample, rest = order[:count], order[count:]
    chosen = sample[sizes[sample] * count < sizes.sum()]
    units = float(sizes[rest].sum())
    line = project(
        1 / sizes[chosen], costs[chosen] / sizes[chosen], Rest(len(rest), units, len(rest) / units), seed=seed
    )
    return line.interval, float(costs[rest].sum())


def _request(file: tuple[str, bytes], resolution: str | None) -> Request:
    mime, content = file
    extra: dict[str, Any] = {"generationConfig": {"mediaResolution": resolution}} if resolution else {}
    parts = [{"inline_data": {"mime_type": mime, "data": b64encode(content).decode()}}, {"text": "What is this?"}]
    job = Job(model=MODEL, input="i", output="o")
    row = {"request": {"contents": [{"role": "user", "parts": parts}], **extra}}
    planned = Planner(job, builtin_catalogue()[MODEL], sandbox=True).plan(Row(0, "0", row, "f", 1))
    assert isinstance(planned, Request), planned
    return planned


def _billed(request: Request, rule: Any) -> int:
    """Input tokens of the sandbox's answer, without those of the text."""
    body = json.loads(json.dumps(request.body))
    bare = {
        **body,
        "contents": [{"role": "user", "parts": [part for part in body["contents"][0]["parts"] if "text" in part]}],
    }
    settings = Settings(media_rule=rule)
    whole, text = (compose(generate_content.read(one, MODEL, stream=False), settings).input for one in (body, bare))
    return whole - text
