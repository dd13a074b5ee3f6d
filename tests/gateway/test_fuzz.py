"""Fuzz: each field of each recorded body changed in every form; and chance, as many minutes as it is given.

ROWMILL_FUZZ_MINUTES (1) says how long chance has. A failure tells its ROWMILL_FUZZ_SEED, which repeats that case alone.
"""

from __future__ import annotations

import io
import json
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowmill.schemas.attempt import Answer, Failure
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.results import OPTIONAL, results_schema
from rowmill.tasks.gateway.protocols.event_stream import is_complete, is_silence
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.gateway.redaction import Redactor
from rowmill.tasks.gateway.response import read_response
from rowmill.tasks.journal.segment import decode_line, encode_line
from rowmill.tasks.output.part_columns import PartColumns, encode_batch
from tests.conftest import KEY
from tests.gateway.mutations import ODD_VALUES, as_bytes, changed, mutations, places, recorded, removed
from tests.gateway.test_response import MODELS, checked, is_whole, stored_as

pytestmark = pytest.mark.nightly
MINUTES = float(os.environ.get("ROWMILL_FUZZ_MINUTES", "1"))
SEED = os.environ.get("ROWMILL_FUZZ_SEED", "")
STATUSES = (
    200,
    200,
    200,
    200,
    200,
    201,
    202,
    204,
    206,
    226,
    299,
    301,
    400,
    401,
    402,
    403,
    404,
    409,
    422,
    429,
    451,
    499,
    500,
    503,
    529,
)
BODIES = list(recorded())
RESULTS = results_schema({}, pa.string(), [(one.name, one.type) for one in OPTIONAL])
BATCH = 500


def forms(value: Any, protocol: str) -> Iterator[Any]:
    """The body as it came, and as it would have come whole or as the events of a stream."""
    yield value
    if isinstance(value, list):
        try:
            yield PROTOCOLS[protocol].assemble(value, ended=True)
        except (ValueError, LookupError):
            """There is no answer in it."""
    elif isinstance(value, dict):
        yield [value]
        yield in_pieces(value)


def in_pieces(value: dict[str, Any]) -> list[Any]:
    """A whole answer as a stream would bring it: what was said, how it ended, what it cost."""
    pieces: list[Any] = []
    for choice in value.get("choices") if isinstance(value.get("choices"), list) else ():
        if isinstance(choice, dict):
            delta = {key: part for key, part in choice.items() if key not in ("message", "finish_reason")}
            pieces.append({"choices": [{**delta, "delta": choice.get("message")}]})
            pieces.append({"choices": [{"delta": {}, "finish_reason": choice.get("finish_reason")}]})
    for candidate in value.get("candidates") if isinstance(value.get("candidates"), list) else ():
        if isinstance(candidate, dict):
            content = candidate.get("content")
            parts = content.get("parts") if isinstance(content, dict) else None
            for part in parts if isinstance(parts, list) else (parts,):
                pieces.append({"candidates": [{"content": {"parts": [part]}}]})
            pieces.append({"candidates": [{key: part for key, part in candidate.items() if key != "content"}]})
    return [*pieces, {key: part for key, part in value.items() if key not in ("choices", "candidates")}]


@pytest.mark.parametrize("protocol", sorted(MODELS))
@pytest.mark.parametrize(("name", "own", "status", "value"), BODIES, ids=[name for name, *_ in BODIES])
def test_each_field_changed_in_every_form_is_decided(protocol, name, own, status, value):
    """Each field of each recorded body, with each odd type, removed, or nested; whole and streamed; on both protocols."""
    kept: list[Outcome] = []
    for form in forms(value, own):
        for _, odd in mutations(form):
            content = as_bytes(odd, stream=isinstance(form, list))
            for code in {status, 200}:
                kept.append(stored_as(checked(code, content, protocol), protocol))
            if len(kept) >= BATCH:
                assert_columns(kept)
                kept.clear()
    assert_columns(kept)


def assert_columns(kept: list[Outcome]) -> None:
    """What is kept stands in the columns of a part as it was."""
    if not kept:
        return
    file = io.BytesIO()
    pq.write_table(encode_batch(kept, PartColumns(RESULTS)), file)
    rows = pq.read_table(file).to_pylist()
    for outcome, row in zip(kept, rows, strict=True):
        for column in (
            "response_text",
            "error_kind",
            "error_message",
            "finish_reason",
            "model",
            "thoughts",
            "grounding",
        ):
            assert row[column] == getattr(outcome, column), column
        assert [call["arguments"] for call in row["tool_calls"]] == [call.arguments for call in outcome.tool_calls]
        assert row["input_tokens"] == outcome.spent.usage.input


def test_chance_finds_nothing():
    """Changes upon changes, of fields, of the stream's form and of the bytes themselves: decided, and kept as it was."""
    if "/" in SEED:
        play(SEED)
        return
    seed = SEED or str(random.SystemRandom().getrandbits(48))
    until, number = time.monotonic() + 60 * MINUTES, 0
    while time.monotonic() < until:
        number += 1
        try:
            play(f"{seed}/{number}")
        except Exception as error:
            error.add_note(f"again: ROWMILL_FUZZ_SEED={seed}/{number}")
            raise
    print(f"{number:,} responses of seed {seed}")


def play(seed: str) -> None:
    rng = random.Random(seed)
    _, own, status, value = rng.choice(BODIES)
    value = rng.choice(list(forms(value, own)))
    stream = isinstance(value, list)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5))):
        value = mutated(value, rng)
    protocol = own if rng.random() < 0.9 else rng.choice(sorted(MODELS))
    content = written(value, rng) if stream and isinstance(value, list) else dumped(value, rng)
    if rng.random() < 0.3:
        content = corrupted(content, rng)
    status = status if rng.random() < 0.6 else rng.choice(STATUSES)
    found = checked(status, content, protocol)
    assert read_response(status, {}, content, model=MODELS[protocol], wall=0.0) == found
    # With headers as they come, and with a key in it that must not be kept.
    wait = rng.choice(
        ["", "1", "-1", "1e400", "nan", "9" * 400, "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "\x00", "1.5, 2"]
    )
    headed = read_response(status, {"retry-after": wait}, content, model=MODELS[protocol], wall=1e9)
    if isinstance(headed, Failure) and headed.retry_after is not None:
        assert 0 <= headed.retry_after <= 3600
    redacted = Redactor(KEY).value(found) if isinstance(found, Answer) else Redactor(KEY).failure(found)
    stored = stored_as(redacted, protocol)
    assert decode_line(encode_line(stored)[:-1]) == stored
    assert KEY.encode() not in encode_line(stored)
    if isinstance(found, Answer) and found.text and not is_whole(found):
        body = {"messages": [], "contents": []}
        json.dumps(PROTOCOLS[protocol].follow_up(body, found, "again"))
    cut = sorted(rng.randrange(len(content) + 1) for _ in range(4))
    tail = b""
    for start, end in zip([0, *cut], [*cut, len(content)], strict=True):
        is_silence(content[start:end])
        tail = (tail + content[start:end])[-16 * 1024 :]
        is_complete(tail)


def mutated(value: Any, rng: random.Random) -> Any:
    path = rng.choice(list(places(value)))
    other = rng.choice(list(places(value)))
    way = rng.randrange(7)
    if way == 0 and path:
        return removed(value, path)
    if way == 1:
        return changed(value, path, lambda old: {"value": old})
    if way == 2:
        return changed(value, path, lambda old: [old, old])
    if way == 3:
        # What stands elsewhere, here.
        moved: Any = value
        for step in other:
            moved = moved[step]
        return changed(value, path, lambda _: moved)
    if way == 4:
        return changed(
            value, path, lambda old: {**old, "error": rng.choice(ODD_VALUES)} if isinstance(old, dict) else str(old)
        )
    if way == 5:
        return changed(
            value,
            path,
            lambda _: rng.choice(
                ["\x00", "\ufeff", "\ud800", "é" * 3000, KEY, f"x{KEY[:9]}", "1e999", [{}] * 50, {"a" * 999: 1}]
            ),
        )
    return changed(value, path, lambda _: rng.choice(ODD_VALUES))


def dumped(value: Any, rng: random.Random) -> bytes:
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, None, 2)))
    return rng.choice((b"", b"", b"", b"\xef\xbb\xbf", b"\n\n", b" ")) + text.encode("utf-8", "surrogatepass")


def written(events: list[Any], rng: random.Random) -> bytes:
    """Events in one of the ways in which servers write them."""
    end = rng.choice((b"\n", b"\n", b"\r\n", b"\r"))
    out = [rng.choice((b"", b"", b"\xef\xbb\xbf", b": hello" + end + end, b"retry: 3" + end))]
    for number, event in enumerate(events):
        if rng.random() < 0.1:
            out.append(
                rng.choice(
                    (b": keep-alive", b"event: message", b"id: 7", b"data:", b"event: error", b"event: ping", b"noise")
                )
                + end
            )
        data = dumped(event, rng).replace(b"\r", b"").split(b"\n")
        out += [rng.choice((b"data: ", b"data:")) + line + end for line in data]
        if number + 1 < len(events) or rng.random() < 0.9:
            out.append(end)
    out.append(rng.choice((b"", b"data: [DONE]" + end + end, b"data:[DONE]" + end, b"data: [DONE]")))
    return b"".join(out) if rng.random() < 0.9 else json.dumps(events).encode()


def corrupted(content: bytes, rng: random.Random) -> bytes:
    """Bytes lost, doubled, changed or put in."""
    raw = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        start = rng.randrange(len(raw) + 1)
        end = min(len(raw), start + rng.choice((1, 1, 3, 40, 4000)))
        way = rng.randrange(4)
        raw[start:end] = (b"", raw[start:end] * 2, rng.randbytes(end - start), raw[start:end] + rng.randbytes(2))[way]
    return bytes(raw)
