"""A loopback gateway that keeps exact books: what it was asked, what it billed, what it answered, what arrived.

It speaks both protocols of the catalogue, whole and as server-sent events. Each good answer names the prompt it was
given to and the number of its call, so that an answer in the wrong row is seen. Its weather is a pure function of a
seed, the request and how often that request came before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from rowmill.schemas.pack import read_pack
from rowmill.schemas.request import SCHEMA_INSTRUCTION

# Row texts stand between these signs in every prompt.
MARKED = re.compile(r"⟦(.*?)⟧", re.DOTALL)
LABELS = ("red", "green", "blue", "grey")
# Prices of the built-in catalogue per million tokens, in 10⁻⁶ USD: a token then costs so many 10⁻¹² USD.
PRICES = {"gemini-3-pro": (800_000, 4_800_000), "gemini-3-flash": (600_000, 1_200_000)}
# Held answers are let go when no further request has come for so long.
HELD_S = 0.08
# Workers of a run that was killed call on until their lease ends.
QUIET_S = 60.0
# The key that a run is given names its process, so that each call is known as one of that run's; 0 is a cluster's key,
# whose calls are those of the run that is under way.
KEY = re.compile(rb"sk-law-[a-z]+-(\d+)")


@dataclass(frozen=True)
class Weather:
    """Percentages of calls that go wrong, each in its own way; what is left is answered well."""

    bad: int = 0  # 200, billed, breaks the schema
    failed_billed: int = 0  # 500, billed, usage untold
    failed_free: int = 0  # 500, not billed
    upstream: int = 0  # 503, not billed
    busy: int = 0  # 429 rate_limit_exceeded, not billed
    spent: int = 0  # 429 spend_limit_exceeded, not billed
    drop: int = 0  # billed, the connection ends in the middle of the answer
    untold: int = 0  # 200, billed, good, without usage
    differ: int = 20  # of label votes: another label than most

    @property
    def is_calm(self) -> bool:
        return self == Weather(differ=self.differ, untold=self.untold)


WEATHERS: Mapping[str, Weather] = {
    "calm": Weather(),
    "divided": Weather(differ=70),
    "untold": Weather(untold=50),
    "bad": Weather(bad=55),
    "worse": Weather(bad=90),
    "failing": Weather(failed_billed=25, failed_free=20),
    "upstream": Weather(upstream=30),
    "busy": Weather(busy=30),
    "spent": Weather(spent=15),
    "dropping": Weather(drop=40),
    "storm": Weather(bad=20, failed_billed=8, failed_free=6, upstream=8, busy=6, drop=10, untold=12),
}


@dataclass
class Call:
    """One request and what became of it. `billed` is in 10⁻¹² USD; `nth` counts the requests of this key before it.

    `run` is the process of the run, `process` the one that asked: another one on a cluster.
    """

    number: int
    run: int
    process: int
    model: str
    key: str
    text: str
    nth: int
    turns: int
    billed: int = 0
    did: str = "received"
    good: bool = False
    told: bool = False
    label: str | None = None
    delivered: bool = False

    def __str__(self) -> str:
        arrived = "delivered" if self.delivered else "not delivered"
        label = f" {self.label}" if self.label else ""
        return (
            f"call {self.number} (run {self.run}) {self.model} {self.key} {self.text!r} nth {self.nth}"
            f"{' re-ask' if self.turns > 2 else ''}: {self.did}{label}, {self.billed / 1e12:.9f} USD, {arrived}"
        )


@dataclass
class Ambush:
    """A signal for a run: sent as its `after`-th call is received, those in the last `held` not yet answered.

    `answered` lets that last call have its answer first; `delay_ms` waits a little longer. On a cluster it may strike
    the worker that made the last call instead. `victim` is the process it struck.
    """

    number: int
    after: int
    held: int = 0
    answered: bool = False
    delay_ms: int = 0
    on_worker: bool = False
    seen: int = 0
    sprung: bool = False
    victim: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def has_killed(self, process: int) -> bool:
        return self.sprung and self.number == signal.SIGKILL and self.victim == process


class Gateway:
    """The gateway on a thread of its own; `calls` are its books, in the order in which requests came."""

    def __init__(self) -> None:
        self.weather = Weather()
        self.seed = 0
        self.prices = dict(PRICES)
        self.calls: list[Call] = []
        # Requests that came; one for several rows is a call of each of them.
        self.posts = 0
        self.ambush: Ambush | None = None
        # The run that is under way, as soon as it has begun, and the workers of the cluster.
        self.run: int | None = None
        self.workers: set[int] = set()
        self.base_url = ""
        self._seen: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._last_at = 0.0
        self._open = 0
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _serve(self, ready: threading.Event) -> None:
        async def listen() -> None:
            self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 24)
            port = self._server.sockets[0].getsockname()[1]
            self.base_url = f"http://127.0.0.1:{port}"
            ready.set()

        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(listen())
        self._loop.run_forever()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def reset(self, seed: int) -> None:
        """Empty books, calm weather, the catalogue's prices."""
        self.weather, self.seed, self.prices = Weather(), seed, dict(PRICES)
        self.calls, self.posts, self.ambush, self._seen = [], 0, None, Counter()

    @property
    def billed(self) -> int:
        return sum(call.billed for call in self.calls)

    def quiet(self) -> None:
        """Wait until every connection of a run that ended is gone: nothing is booked afterwards. Raises TimeoutError."""

        async def gone() -> None:
            while self._open:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

        asyncio.run_coroutine_threadsafe(gone(), self._loop).result(QUIET_S)

    def begin(self, run: int) -> None:
        """A run has begun: calls of a cluster are its from now on."""
        self.run = run

    def lie_in_wait(self, ambush: Ambush | None) -> None:
        """Set the ambush for the next run, or none."""
        self.ambush = ambush

    # The wire.

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            await self._exchanges(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open -= 1
            writer.close()

    async def _exchanges(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        worker = owner_of(writer, self.workers)
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *lines = head.split(b"\r\n")
            method, path, _ = line.split(b" ", 2)
            length = next((int(one.split(b":")[1]) for one in lines if one.lower().startswith(b"content-length:")), 0)
            body = await reader.readexactly(length)
            if method != b"POST":
                await _write(writer, 404, b'{"error": {"code": "task_not_found", "type": "x", "message": "none"}}')
                continue
            told = KEY.search(head)
            run = process = int(told[1]) if told else 0
            if not run:
                run = await self._run_under_way()
                # One that is not there any more was struck before its call was heard.
                process = worker or (self.ambush.victim if self.ambush is not None else 0)
            if not await self._answer(writer, path.decode(), json.loads(body), run, process):
                return

    async def _run_under_way(self) -> int:
        while self.run is None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        return self.run

    async def _answer(
        self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any], run: int, process: int
    ) -> bool:
        """Book and answer one call; whether the connection stays open."""
        chat = path == "/v1/chat/completions"
        asked = read_chat(body) if chat else read_generate(path, body)
        stream = bool(body.get("stream", True)) if chat else ":streamGenerateContent" in path
        calls = [self._received(asked, one, run, process) for one in asked.rows]
        self.posts += 1
        self._last_at = self._loop.time()
        fate = self._fate(calls[0]) if asked.tokens is None else self._whole_fate(calls[0])
        usage = self._bill(calls[0], fate, asked)
        ambush = self.ambush
        if ambush is not None and not await self._survives(ambush, calls[0]):
            return False
        status, payload = self._payload(calls, fate, asked, chat=chat, usage=usage)
        if status == 200 and stream:
            content, kind = _events(payload, chat=chat), b"text/event-stream"
        else:
            content, kind = json.dumps(payload, ensure_ascii=False).encode(), b"application/json"
        if fate == "drop":
            await _write(writer, 200, content[: len(content) // 2], kind, length=len(content))
            return False
        await _write(writer, status, content, kind)
        for call in calls:
            call.delivered = ambush is None or not ambush.has_killed(process)
        if ambush is not None and ambush.answered and ambush.seen >= ambush.after:
            await self._spring(ambush, calls[0])
        return True

    def _received(self, asked: Asked, one: tuple[str, str], run: int, process: int) -> Call:
        """A row's part of a request, in the books."""
        first, text = one
        key = _hash(asked.model, asked.system, first)
        call = Call(len(self.calls), run, process, asked.model, key, text, self._seen[key], asked.turns)
        self._seen[key] += 1
        self.calls.append(call)
        return call

    async def _survives(self, ambush: Ambush, call: Call) -> bool:
        """Count this call towards the ambush; whether it is still to be answered afterwards."""
        ambush.seen += 1
        if ambush.seen == ambush.after and not ambush.answered:
            await self._spring(ambush, call)
        elif ambush.seen > ambush.after - ambush.held and not ambush.sprung and ambush.seen < ambush.after:
            await self._hold(ambush)
        return not ambush.has_killed(call.process)

    async def _hold(self, ambush: Ambush) -> None:
        """Keep an answer back until the signal is sent, or until no further request comes."""
        while not ambush.sprung and self._loop.time() - self._last_at < HELD_S:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ambush.gone.wait(), HELD_S / 4)

    async def _spring(self, ambush: Ambush, call: Call) -> None:
        if ambush.delay_ms:
            await asyncio.sleep(ambush.delay_ms / 1000)
        victim = call.process if ambush.on_worker else call.run
        # A worker that is not known any more cannot be struck; to signal the process 0 would strike this one.
        if victim and not ambush.sprung:
            ambush.sprung = True
            ambush.victim = victim
            with contextlib.suppress(ProcessLookupError):
                os.kill(ambush.victim, ambush.number)
            ambush.gone.set()

    # What becomes of a call.

    def _fate(self, call: Call) -> str:
        drawn = draw(100, self.seed, call.key, call.nth, "fate")
        for name in ("bad", "failed_billed", "failed_free", "upstream", "busy", "spent", "drop", "untold"):
            drawn -= getattr(self.weather, name)
            if drawn < 0:
                return name
        return "good"

    def _whole_fate(self, call: Call) -> str:
        """What becomes of a request for several rows; that an answer is bad is each row's own."""
        fate = self._fate(call)
        return "good" if fate == "bad" else fate

    def _bill(self, call: Call, fate: str, asked: Asked) -> tuple[int, int, int]:
        """Tokens of input, of the answer and of the thoughts, never above what the request bounds; booked if billed."""
        call.did = fate
        if fate in ("failed_free", "upstream", "busy", "spent"):
            return 0, 0, 0
        given = max(1, asked.size // 3)
        out = 1 + draw(asked.limit, self.seed, call.key, call.nth, "output")
        thoughts = draw(out + 1, self.seed, call.key, call.nth, "thoughts") // 2
        price_in, price_out = self.prices[call.model]
        call.billed = given * price_in + out * price_out
        return given, out - thoughts, thoughts

    def _payload(
        self, calls: list[Call], fate: str, asked: Asked, *, chat: bool, usage: tuple[int, int, int]
    ) -> tuple[int, dict[str, Any]]:
        for call in calls:
            call.did = fate
        if fate in ERRORS:
            status, code, type_ = ERRORS[fate]
            return status, {"error": {"code": code, "message": f"the weather is {fate}", "type": type_}}
        value: Any
        if asked.tokens is None:
            value = self._said(calls[0], fate, asked.labels)
        else:
            value = {"rows": self._entries(calls, fate, asked)}
        text = json.dumps(value, ensure_ascii=False)
        for call in calls:
            call.good = call.did in ("good", "untold")
            call.told = fate not in ("untold", "drop")
        form = _chat_form if chat else _generate_form
        return 200, form(text, calls[0].model, usage if calls[0].told else None)

    def _entries(self, calls: list[Call], fate: str, asked: Asked) -> list[dict[str, Any]]:
        """Each row's entry; of the bad ones half break the schema, and half are not there."""
        entries = []
        for call, token in zip(calls, asked.tokens or (), strict=True):
            bad = self._fate(call) == "bad"
            call.did = "bad" if bad and fate != "drop" else fate
            if not bad or draw(2, self.seed, call.key, call.nth, "missing"):
                entries.append({"row": token, "answer": self._said(call, call.did, asked.labels)})
        return entries or [{"row": "nobody", "answer": None}]

    def _said(self, call: Call, fate: str, labels: tuple[str, ...]) -> dict[str, Any]:
        """The answer's JSON; a bad one names its request too, and breaks the schema by a text for a number."""
        if not labels:
            return {"echo": call.text, "call": "none" if fate == "bad" else call.number}
        usual = LABELS[draw(len(LABELS), self.seed, call.text, "label")]
        other = LABELS[draw(len(LABELS), self.seed, call.key, "other")]
        call.label = other if draw(100, self.seed, call.key, "differ") < self.weather.differ else usual
        reason = f"{call.text}#{call.number}"
        return {"reason": reason, "label": "mauve" if fate == "bad" else call.label}


ERRORS = {
    "failed_billed": (500, "internal_error", "api_error"),
    "failed_free": (500, "internal_error", "api_error"),
    "upstream": (503, "upstream_error", "api_error"),
    "busy": (429, "rate_limit_exceeded", "rate_limit_error"),
    "spent": (429, "spend_limit_exceeded", "billing_error"),
}


def owner_of(writer: asyncio.StreamWriter, processes: Collection[int]) -> int:
    """Which of these processes has the other end of a connection on this machine; 0 where none has."""
    if not processes:
        return 0
    _, port = writer.get_extra_info("peername")
    local = f"0100007F:{port:04X}"
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
    end = next((f"socket:[{fields[9]}]" for fields in lines if fields[1] == local), None)
    for process in processes:
        with contextlib.suppress(OSError):
            if any(os.readlink(one) == end for one in Path(f"/proc/{process}/fd").iterdir()):
                return process
    return 0


def draw(most: int, *of: object) -> int:
    """A number below `most`, fixed by what it is drawn of."""
    return int.from_bytes(blake2b(repr(of).encode(), digest_size=8).digest()) % most


def _hash(*of: object) -> str:
    return blake2b(repr(of).encode(), digest_size=6).hexdigest()


@dataclass(frozen=True)
class Asked:
    """A request as both protocols carry it. `rows` are the own prompt and the marked text of each row, `size` the bytes
    of the whole body; `tokens` name the rows where there are several.
    """

    model: str
    system: str
    rows: tuple[tuple[str, str], ...]
    tokens: tuple[str, ...] | None
    turns: int
    limit: int
    size: int
    labels: tuple[str, ...]


def _asked(
    model: str, system: str, users: list[str], turns: int, limit: int, body: dict[str, Any], joint: str
) -> Asked:
    pack = read_pack(users[0])
    if pack is None:
        firsts, tokens = [users[0]], None
    else:
        more = "" if pack.schema is None else f"{joint}{SCHEMA_INSTRUCTION}\n{pack.schema}"
        firsts = [f"{pack.prompt_of(own)}{more}" for _, own in pack.rows]
        tokens = tuple(token for token, _ in pack.rows)
    rows = []
    for first in firsts:
        marked = MARKED.findall(first)
        if len(marked) != 1:
            raise ValueError(f"a prompt with {len(marked)} marked texts: {first!r}")
        rows.append((first, marked[0]))
    size = len(json.dumps(body, ensure_ascii=False).encode())
    labels = LABELS if "You label" in system or "Labels:" in system else ()
    return Asked(model, system, tuple(rows), tokens, turns, limit, size, labels)


def read_chat(body: dict[str, Any]) -> Asked:
    messages = body["messages"]
    system = "\n".join(str(one["content"]) for one in messages if one["role"] == "system")
    users = [str(one["content"]) for one in messages if one["role"] == "user"]
    limit = body.get("max_completion_tokens") or body["max_tokens"]
    return _asked(body["model"], system, users, len(messages), limit, body, "\n\n")


def read_generate(path: str, body: dict[str, Any]) -> Asked:
    model = path.rpartition("/")[2].partition(":")[0]
    contents = body["contents"]
    system = json.dumps(body.get("systemInstruction"), ensure_ascii=False)
    users = ["".join(part["text"] for part in one["parts"]) for one in contents if one.get("role", "user") == "user"]
    limit = body["generationConfig"]["maxOutputTokens"]
    return _asked(model, system, users, len(contents) + 1, limit, body, "")


def _chat_form(text: str, model: str, usage: tuple[int, int, int] | None) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    made: dict[str, Any] = {"id": "chatcmpl-law", "object": "chat.completion", "model": model, "choices": [choice]}
    if usage is not None:
        given, out, thoughts = usage
        made["usage"] = {
            "prompt_tokens": given,
            "completion_tokens": out + thoughts,
            "total_tokens": given + out + thoughts,
            "completion_tokens_details": {"reasoning_tokens": thoughts},
        }
    return made


def _generate_form(text: str, model: str, usage: tuple[int, int, int] | None) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    made: dict[str, Any] = {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "modelVersion": model,
    }
    if usage is not None:
        given, out, thoughts = usage
        made["usageMetadata"] = {
            "promptTokenCount": given,
            "candidatesTokenCount": out,
            "thoughtsTokenCount": thoughts,
            "totalTokenCount": given + out + thoughts,
        }
    return made


def _events(payload: dict[str, Any], *, chat: bool) -> bytes:
    """The whole answer as server-sent events: the text in two pieces, the end, the usage."""
    if chat:
        message = payload["choices"][0]["message"]["content"]
        half = len(message) // 2
        head = {"object": "chat.completion.chunk", "model": payload["model"]}
        deltas: list[tuple[dict[str, Any], str | None]] = [
            ({"role": "assistant", "content": message[:half]}, None), ({"content": message[half:]}, None), ({}, "stop"),
        ]  # fmt: skip
        chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas]
        if "usage" in payload:
            chunks.append({**head, "choices": [], "usage": payload["usage"]})
        return b"".join(_event(chunk) for chunk in chunks) + b"data: [DONE]\n\n"
    message = payload["candidates"][0]["content"]["parts"][0]["text"]
    half = len(message) // 2
    first = {"content": {"role": "model", "parts": [{"text": message[:half]}]}, "index": 0}
    last = {**first, "content": {"role": "model", "parts": [{"text": message[half:]}]}, "finishReason": "STOP"}
    return _event({"candidates": [first], "modelVersion": payload["modelVersion"]}) + _event(
        {**payload, "candidates": [last]}
    )


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


async def _write(
    writer: asyncio.StreamWriter, status: int, content: bytes, kind: bytes = b"application/json", length: int = -1
) -> None:
    told = len(content) if length < 0 else length
    writer.write(b"HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (status, kind, told) + content)
    await writer.drain()
