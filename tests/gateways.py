"""A scripted gateway on the loopback: it speaks both protocols, bills by the real prices and keeps its own books.

A test tells it how to answer: a function of an `Ask` (what was asked, and how often before) that returns a `Reply`.
It plays what the sandbox cannot: counts that no model has, answers in chosen pieces, a second answer that nobody asked
for, a bill as high as a body allows. Answers name their request unless the script says otherwise, so that one in a
wrong row is seen. A call is billed when it arrives, whether or not its answer is still wanted then.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol

from tests.conftest import Bench, money

# USD and credits per million tokens, input and output. Source: the gateway's pages.
PRICES = {
    "gemini-3-pro": (Fraction("0.80"), Fraction("4.80"), Fraction(160), Fraction(960)),
    "gemini-3-flash": (Fraction("0.60"), Fraction("1.20"), Fraction(120), Fraction(240)),
}
TRUE_COUNTS: Mapping[str, Any] = {"told": "as billed"}
FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as it arrived. `prompt` is the text of its first user turn; `seen` counts the earlier requests with
    that prompt, whatever else they held; `turns` are the user turns of this one (more than one: it is asked again).
    """

    model: str
    prompt: str
    body: dict[str, Any]
    stream: bool
    seen: int
    turns: int
    key: str

    @property
    def request(self) -> str:
        """The whole body as one text: equal for equal requests."""
        return json.dumps(self.body, sort_keys=True)

    @property
    def is_chat(self) -> bool:
        return "messages" in self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the gateway does with one request.

    Billed are `input` and `output` + `thinking` tokens of a 200 (nothing of another status) unless `billed` says
    otherwise. `usage` is what the answer tells in its protocol's own words: by default the truth, None for no word.
    `good` tells whether a client that is in order accepts the answer; the books count those apart.
    """

    text: str = ""
    thoughts: str = ""
    input: int = 50
    output: int = 20
    thinking: int = 130
    usage: Mapping[str, Any] | None = field(default_factory=lambda: TRUE_COUNTS)
    good: bool = True
    finish: str = "stop"
    # The pieces of the text: events of a stream, or parts of a whole answer's content. Empty: all in one.
    pieces: tuple[str, ...] = ()
    status: int = 200
    # Code, message and type of an error's body.
    error: tuple[str, str, str] = ("internal_error", "something broke", "api_error")
    billed: bool | None = None
    # The whole body, in place of what would be made of the above.
    raw: bytes | None = None
    delay_s: float = 0.0
    # The connection is cut in place of an answer.
    hang_up: bool = False
    # A second whole answer on the same connection, so many seconds after the first (0: right behind it, in one piece
    # with it): nobody asked for it.
    late: Reply | None = None
    late_s: float = 0.0

    @property
    def is_billed(self) -> bool:
        return self.status == 200 if self.billed is None else self.billed


Script = Callable[[Ask], Reply]


def names_its_request(ask: Ask) -> Reply:
    """An answer that tells which prompt it answers, and the how-manieth answer to it this is."""
    return Reply(text=answer_to(ask.prompt, ask.seen))


def answer_to(prompt: str, seen: int = 0) -> str:
    return f"answer {seen} to <{prompt}>"


class Books(Protocol):
    """What a gateway tells of itself: this one and the sandbox alike."""

    def books(self) -> dict[str, Any]: ...


class Gateway:
    """The server. `script` may be replaced between two runs; counts are read at any time."""

    def __init__(self, script: Script = names_its_request, *, latency_s: float = 0.0) -> None:
        self.script, self.latency_s = script, latency_s
        self.url = ""
        self.asks: list[Ask] = []
        self.calls_by_status: Counter[int] = Counter()
        self.billed_usd, self.billed_credits = Fraction(0), Fraction(0)
        # How often each prompt was asked, billed, and given a good answer; the last also by whole request.
        self.asked_by_prompt: Counter[str] = Counter()
        self.billed_by_prompt: Counter[str] = Counter()
        self.good_by_prompt: Counter[str] = Counter()
        self.good_by_request: Counter[str] = Counter()
        self._open: set[asyncio.StreamWriter] = set()

    # What a test reads.

    def books(self) -> dict[str, Any]:
        """The sums, under the sandbox's names."""
        return {
            "calls": len(self.asks),
            "calls_by_status": dict(self.calls_by_status),
            "billed_calls": sum(self.billed_by_prompt.values()),
            "billed_usd": str(decimal(self.billed_usd)),
            "billed_credits": str(decimal(self.billed_credits)),
        }

    def paid_again(self, per_prompt: int = 1) -> int:
        """Good answers beyond the so many that each prompt is worth."""
        return sum(count - per_prompt for count in self.good_by_prompt.values() if count > per_prompt)

    def wait_for(self, calls: int, timeout_s: float = WAIT_S) -> None:
        """Until so many calls have arrived since the start."""
        self.wait_until(lambda: len(self.asks) >= calls, timeout_s)

    def quiet(self) -> None:
        """Until nobody is connected: what a killed client had sent has then arrived, and is in the books."""
        self.wait_until(lambda: not self._open)

    def wait_until(self, reached: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        """Until something is so. It fails where that takes too long."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert time.monotonic() < deadline, f"{len(self.asks)} calls and no more after {timeout_s} s"
            time.sleep(0.005)

    # What serves.

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            """The client is gone."""
        finally:
            self._open.discard(writer)
            writer.close()

    async def hang_up(self) -> None:
        """Close the connections of clients that keep theirs."""
        writers = list(self._open)
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer. False where the connection ends with it."""
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = line.split(" ")
        if method != "POST":
            writer.write(_response(404, b"{}"))
            return True
        ask = self._read(path, json.loads(content), headers)
        reply = self.script(ask)
        self._enter(ask, reply)
        if delay := reply.delay_s or self.latency_s:
            await asyncio.sleep(delay)
        if reply.hang_up:
            return False
        late = b"" if reply.late is None else _wire(ask, reply.late)
        if reply.late_s == 0:
            writer.write(_wire(ask, reply) + late)
        else:
            writer.write(_wire(ask, reply))
            asyncio.get_running_loop().call_later(reply.late_s, lambda: writer.is_closing() or writer.write(late))
        await writer.drain()
        return True

    def _read(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> Ask:
        is_chat = "messages" in body
        model = str(body["model"]) if is_chat else path.rpartition("/")[2].partition(":")[0]
        stream = body.get("stream", True) is not False if is_chat else ":streamGenerateContent" in path
        turns = body["messages"] if is_chat else body["contents"]
        users = [turn for turn in turns if turn.get("role", "user") == "user"]
        prompt = _text(users[0])
        key = headers.get("authorization", "").removeprefix("Bearer ")
        return Ask(model, prompt, body, stream, self.asked_by_prompt[prompt], len(users), key)

    def _enter(self, ask: Ask, reply: Reply) -> None:
        self.asked_by_prompt[ask.prompt] += 1
        self.calls_by_status[reply.status] += 1
        if reply.is_billed:
            input_usd, output_usd, input_credits, output_credits = PRICES[ask.model]
            output = reply.output + reply.thinking
            self.billed_usd += (reply.input * input_usd + output * output_usd) / 10**6
            self.billed_credits += (reply.input * input_credits + output * output_credits) / 10**6
            self.billed_by_prompt[ask.prompt] += 1
        if reply.status == 200 and reply.good:
            self.good_by_prompt[ask.prompt] += 1
            self.good_by_request[ask.request] += 1
        # Last, since a test waits for it.
        self.asks.append(ask)


def decimal(value: Fraction) -> Decimal:
    """Exact: tokens times prices have few places."""
    return Decimal(value.numerator) / Decimal(value.denominator)


def _text(turn: Mapping[str, Any]) -> str:
    content = turn.get("content", turn.get("parts"))
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in content or [] if "text" in part)


def _wire(ask: Ask, reply: Reply) -> bytes:
    """A whole response, head and body."""
    if reply.raw is not None:
        return _response(reply.status, reply.raw, stream=ask.stream and reply.status == 200)
    if reply.status != 200:
        code, message, kind = reply.error
        return _response(reply.status, _json({"error": {"code": code, "message": message, "type": kind}}))
    made = _chat if ask.is_chat else _generate
    return _response(200, made(ask, reply), stream=ask.stream)


def _response(status: int, body: bytes, *, stream: bool = False) -> bytes:
    kind = "text/event-stream" if stream else "application/json"
    head = f"HTTP/1.1 {status} status\r\nContent-Type: {kind}\r\n"
    if not stream:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n" if body else b""
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk + b"0\r\n\r\n"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _events(events: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + _json(event) + b"\n\n" for event in events)


def _chat(ask: Ask, reply: Reply) -> bytes:
    """Reasoning stands inside the completion in this protocol."""
    usage: dict[str, Any] | None = {
        "prompt_tokens": reply.input,
        "completion_tokens": reply.output + reply.thinking,
        "total_tokens": reply.input + reply.output + reply.thinking,
        "completion_tokens_details": {"reasoning_tokens": reply.thinking},
    }
    usage = usage if reply.usage is TRUE_COUNTS else None if reply.usage is None else dict(reply.usage)
    told = {} if usage is None else {"usage": usage}
    head = {"id": "chatcmpl-scripted", "created": 1_767_225_600, "model": ask.model}
    pieces = reply.pieces or (reply.text,)
    if not ask.stream:
        content = [{"type": "text", "text": piece} for piece in reply.pieces] if reply.pieces else reply.text
        message = {"role": "assistant", "content": content}
        message |= {"reasoning_content": reply.thoughts} if reply.thoughts else {}
        choice = {"index": 0, "message": message, "finish_reason": reply.finish}
        return _json({**head, "object": "chat.completion", "choices": [choice], **told})
    deltas: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in _halves(reply.thoughts)]
    deltas += [{"content": piece} for piece in pieces]
    events = [{**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reply.finish}]})
    return _events([*events, {**head, "choices": [], **told}]) + b"data: [DONE]\n\n"


def _generate(ask: Ask, reply: Reply) -> bytes:
    """Reasoning stands beside the candidates in this protocol."""
    usage: dict[str, Any] | None = {
        "promptTokenCount": reply.input,
        "candidatesTokenCount": reply.output,
        "thoughtsTokenCount": reply.thinking,
        "totalTokenCount": reply.input + reply.output + reply.thinking,
    }
    usage = usage if reply.usage is TRUE_COUNTS else None if reply.usage is None else dict(reply.usage)
    told = {} if usage is None else {"usageMetadata": usage}
    parts: list[dict[str, Any]] = [{"text": piece, "thought": True} for piece in _halves(reply.thoughts)]
    parts += [{"text": piece} for piece in reply.pieces or (reply.text,)]

    def form(parts: list[dict[str, Any]], **last: Any) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **last}
        return {"candidates": [candidate], "modelVersion": ask.model}

    finish = FINISH.get(reply.finish, reply.finish)
    if not ask.stream:
        return _json({**form(parts, finishReason=finish), **told})
    early = [form([part]) for part in parts[:-1]]
    return _events([*early, {**form(parts[-1:], finishReason=finish), **told}])


def _halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


@contextmanager
def serving(script: Script = names_its_request, *, latency_s: float = 0.0) -> Iterator[Gateway]:
    """A gateway on a free port of the loopback, in a thread of its own; it ends with the block."""
    gateway = Gateway(script, latency_s=latency_s)
    loop, started = asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(gateway.connected, "127.0.0.1", 0, limit=2**26)
        gateway.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.create_task(serve())
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield gateway
    finally:
        asyncio.run_coroutine_threadsafe(gateway.hang_up(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def assert_books(
    bench: Bench, gateway: Books, cap: str | Decimal | None = None, *, exact: bool = False
) -> dict[str, Any]:
    """The law of money: known ≤ billed ≤ known + bound, over all that was ever sent for the output, and billed ≤ cap.

    Known is what the rows and what stands beside them have cost together, bound what of them is unknown. `exact`: every
    bill was told, so that nothing is unknown. Every row stands once. Returns what run.json tells, or `status` where
    the last run was killed.
    """
    books = gateway.books()
    billed = money(books["billed_usd"])
    if cap is not None:
        assert billed <= money(cap), f"billed {billed} under a cap of {cap}"
    told = bench.manifest()
    if told["state"] == "running":
        ended = bench.run("", "status", "out", "--json")
        assert ended.code == 0, ended.err
        told = ended.manifest
    elif told["ledger"]["rows"] > told["ledger"]["not_attempted"]:
        _assert_rows(bench, told)
    parts = (told["totals"], told["beside"])
    known = sum(money(part["cost_usd"]) for part in parts)
    bound = sum(money(part["unknown_cost_bound_usd"]) for part in parts)
    calls = sum(int(part["calls"]) for part in parts)
    assert known <= billed <= known + bound, f"billed {billed}, known {known}, unknown at most {bound}"
    assert books["calls"] <= calls, f"{books['calls']} calls were sent, {calls} are told"
    if exact:
        assert (known, bound, calls) == (billed, 0, books["calls"]), f"billed {billed}, known {known}, unknown {bound}"
    return told


def _assert_rows(bench: Bench, told: Mapping[str, Any]) -> None:
    results, rows = bench.results(), told["ledger"]
    index = results["row_index"].to_list()
    assert index == sorted(set(index)), "a row stands twice"
    assert results["row_id"].is_unique().all()
    assert results.height == rows["rows"] - rows["not_attempted"]
    assert money(told["totals"]["cost_usd"]) == money(results["cost_usd"].sum())
