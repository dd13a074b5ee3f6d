"""Server: the sandbox's routes on loopback. Auth, limits, faults, answer, books: in this order, for both protocols."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from hashlib import blake2b
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from rowmill.sandbox import chat_completions, generate_content
from rowmill.sandbox.books import Books
from rowmill.sandbox.chance import fraction
from rowmill.sandbox.faults import ANSWERED, ERRORS, fault_for, spoiled
from rowmill.sandbox.limits import RateLimit, SpendLimit
from rowmill.sandbox.oddities import ODDITIES, REFUSALS, STREAM_FAULTS, odd
from rowmill.sandbox.prompt import BadRequest, Prompt
from rowmill.sandbox.reply import Reply, compose
from rowmill.sandbox.settings import Settings, changed
from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.price import ZERO, decimal_string, parse_amount
from rowmill.schemas.usage import Usage

HANG_MOST_S = 120.0
SLOW_S = 2.0
KEEPALIVE_S = 0.2
BODY_MOST = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Told:
    """One call on its way: its prompt, its hash, and how often it was seen before."""

    prompt: Prompt
    hash: str
    seen: int


class Sandbox:
    """A local gateway. `base_url` is known once it runs."""

    def __init__(self, settings: Settings | None = None, journal: Path | None = None) -> None:
        self.settings = settings or Settings()
        self.books = Books(journal)
        self.base_url = ""
        self._models = builtin_catalogue()
        like = {model.protocol: model for model in self._models.values()}
        self._models |= {name: like[protocol] for name, protocol in self.settings.models.items()}
        self._seen: Counter[str] = Counter()
        self._rate, self._spend = RateLimit(), SpendLimit()

    @asynccontextmanager
    async def running(self, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[Sandbox]:
        """Serve until the block ends."""
        runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, backlog=2_048)
            await site.start()
            self.base_url = f"http://{host}:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=BODY_MOST)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/gemini/v1beta/models/{call}", self._generate)
        app.router.add_get("/v1/credits", self._credits)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/sandbox/books", self._tell_books)
        app.router.add_post("/sandbox/books/reset", self._reset_books)
        app.router.add_post("/sandbox/settings", self._change)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, lambda body: chat_completions.read(body))

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        model, _, verb = request.match_info["call"].partition(":")
        stream = verb == "streamGenerateContent"
        if not stream and verb != "generateContent":
            return self._error("invalid_request", "")
        return await self._serve(request, lambda body: generate_content.read(body, model, stream=stream))

    async def _serve(self, request: web.Request, read: Any) -> web.StreamResponse:
        peer = request.transport.get_extra_info("peername") if request.transport else None
        self.books.enter(peer)
        try:
            if not _key_of(request).startswith("sk-"):
                return self._error("invalid_api_key", "")
            try:
                prompt: Prompt = read(msgspec.json.decode(await request.read()))
            except (BadRequest, msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
                return self._error("invalid_request", "", f"{error}")
            return await self._answer(request, prompt)
        finally:
            self.books.in_flight -= 1

    async def _answer(self, request: web.Request, prompt: Prompt) -> web.StreamResponse:
        protocol = "chat-completions" if request.path.endswith("/chat/completions") else "generate-content"
        model = self._models.get(prompt.model)
        if model is None or model.protocol != protocol:
            return self._error("model_not_found", prompt.last)
        digest = blake2b(f"{prompt.model}\0{prompt.first}".encode("utf-8", "replace"), digest_size=8).hexdigest()
        told = Told(prompt, digest, self._seen[digest])
        reply = compose(prompt, self.settings)
        tokens = reply.input + reply.output + reply.reasoning
        if (wait := self._rate.refuse_for(tokens, self.settings, time.monotonic())) > 0:
            return self._error("rate_limit_exceeded", prompt.last, retry_after=str(math.ceil(wait)))
        self._seen[digest] += 1
        fault = fault_for(prompt.text, told.seen, self.settings.seed, chances=self.settings.faults)
        await self._take_time(told)
        if fault is not None and fault not in ANSWERED:
            return await self._fault(request, told, reply, fault=fault)
        return await self._bill_and_send(request, told, spoiled(reply, fault) if fault else reply, fault=fault)

    async def _take_time(self, told: Told) -> None:
        settings = self.settings
        if settings.latency_ms:
            drawn = fraction(settings.seed, told.hash, told.seen, "latency")
            spread = math.exp(settings.latency_spread * (2 * drawn - 1)) if settings.latency_spread else 1.0
            await asyncio.sleep(settings.latency_ms * spread / 1000)

    async def _fault(self, request: web.Request, told: Told, reply: Reply, *, fault: str) -> web.StreamResponse:
        """A fault of the wire. What the client cannot know of was billed all the same."""
        text = told.prompt.last
        if fault in ERRORS:
            return self._error(fault, text)
        if fault in REFUSALS:
            return self._refuse(fault, text)
        if fault == "rate_limit_date":
            return self._error("rate_limit_exceeded", text, retry_after=formatdate(time.time() + 2, usegmt=True))
        if fault == "bare_429":
            return self._plain(429, "bare", b"", text=text)
        if fault == "html_502":
            return self._plain(502, "html", b"<html><body>Bad Gateway</body></html>", text=text)
        if fault == "echo_key":
            words = f"Unexpected server error for {request.headers.get('Authorization')}."
            return self._error("internal_error", text, words)
        if fault == "slow":
            await asyncio.sleep(SLOW_S)
            return await self._bill_and_send(request, told, reply, fault=None)
        self._bill(told, reply)
        if fault == "garbage":
            return self._plain(200, "garbage", b"<<< this is no JSON >>>", text=text)
        if fault == "hang":
            await asyncio.sleep(HANG_MOST_S)
        if fault == "truncated":
            return await self._truncated(request, told, reply)
        self.books.note(0, fault, text, cost=None, keep=self.settings.detail)
        if request.transport is not None:
            request.transport.close()
        return web.Response(status=500)

    async def _truncated(self, request: web.Request, told: Told, reply: Reply) -> web.StreamResponse:
        """The answer stops in its middle, and the connection with it."""
        whole = "".join(self._body(told, reply, with_usage=True)).encode()
        response = web.StreamResponse(headers={"Content-Type": self._content_type(told.prompt)})
        response.content_length = len(whole)
        await response.prepare(request)
        await response.write(whole[: len(whole) // 2])
        self.books.note(200, "truncated", told.prompt.last, cost=None, keep=self.settings.detail)
        if request.transport is not None:
            request.transport.close()
        return response

    async def _bill_and_send(
        self, request: web.Request, told: Told, reply: Reply, *, fault: str | None
    ) -> web.StreamResponse:
        usage = Usage(reply.input, reply.output, reply.reasoning)
        model = self._models[told.prompt.model]
        assert model.price is not None
        cost = model.price.of(usage)
        if self._spend.refuses(self.books.cost.usd, cost.usd, self.settings, now=time.monotonic()):
            return self._error("spend_limit_exceeded", told.prompt.last)
        if self.books.cost.credits + cost.credits > parse_amount(self.settings.credits):
            return self._error("insufficient_credits", told.prompt.last)
        self._bill(told, reply)
        self.books.note(200, fault or "", told.prompt.last, cost=cost, keep=self.settings.detail)
        pieces = self._body(told, reply, with_usage=fault != "no_usage")
        if fault is not None and fault in ODDITIES:
            pieces = map(odd, pieces, repeat(fault))
        if not told.prompt.stream:
            return web.Response(body="".join(pieces).encode(), content_type="application/json")
        if fault == "whole_json":
            whole = replace(told, prompt=replace(told.prompt, stream=False))
            body = "".join(self._body(whole, reply, with_usage=True))
            return web.Response(body=body.encode(), content_type="application/json")
        return await self._stream(request, list(pieces), fault if fault in STREAM_FAULTS else None)

    async def _stream(self, request: web.Request, pieces: list[str], fault: str | None) -> web.StreamResponse:
        """Send a stream in its pieces, with a fault of how it ends."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if fault in ("stream_error", "closed_early", "keepalive"):
            pieces = pieces[: len(pieces) // 2] if fault != "keepalive" else []
        if fault == "no_finish":
            pieces = [piece for piece in pieces if '"finish' not in piece or '"finish_reason": null' in piece]
        for piece in pieces:
            await response.write(piece.encode())
        if fault == "stream_error":
            error = {"type": "error", "code": 529, "message": "overloaded"}
            await response.write(f"event: error\ndata: {json.dumps(error)}\n\ndata: [DONE]\n\n".encode())
        if fault == "closed_early" and request.transport is not None:
            request.transport.close()
            return response
        ends_at = time.monotonic() + (HANG_MOST_S if fault in ("keepalive", "linger") else 0)
        while time.monotonic() < ends_at and request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(KEEPALIVE_S)
            if fault == "keepalive":
                await response.write(b": waiting\n\n")
        await response.write_eof()
        return response

    def _bill(self, told: Told, reply: Reply) -> None:
        price = self._models[told.prompt.model].price
        assert price is not None
        self.books.bill(Usage(reply.input, reply.output, reply.reasoning), price, told.hash)

    def _body(self, told: Told, reply: Reply, *, with_usage: bool) -> Iterator[str]:
        prompt, beside = told.prompt, self.settings.thoughts_beside
        call_id = f"{told.hash}{told.seen}"
        if self._models[prompt.model].protocol == "chat-completions":
            if prompt.stream:
                return chat_completions.stream(reply, prompt, call_id, beside=beside, with_usage=with_usage)
            made = chat_completions.answer(reply, prompt, call_id, beside=beside, with_usage=with_usage)
        elif prompt.stream:
            return generate_content.stream(reply, prompt, with_usage=with_usage)
        else:
            made = generate_content.answer(reply, prompt, with_usage=with_usage)
        return iter((json.dumps(made, ensure_ascii=False),))

    def _content_type(self, prompt: Prompt) -> str:
        return "text/event-stream" if prompt.stream else "application/json"

    def _error(
        self, code: str, text: str, message: str | None = None, *, retry_after: str | None = None
    ) -> web.Response:
        form = ERRORS[code]
        form = replace(form, message=message or form.message, retry_after=retry_after or form.retry_after)
        self.books.note(form.status, code, text, cost=ZERO, keep=self.settings.detail)
        headers = {"Retry-After": form.retry_after} if form.retry_after else None
        return web.json_response(chat_completions.error(form), status=form.status, headers=headers)

    def _refuse(self, kind: str, text: str) -> web.Response:
        """A refusal as another gateway words it; it costs nothing."""
        form = REFUSALS[kind]
        self.books.note(form.status, kind, text, cost=ZERO, keep=self.settings.detail)
        content_type = "text/html" if isinstance(form.body, str) else "application/json"
        return web.Response(status=form.status, body=form.content, content_type=content_type, headers=form.headers)

    def _plain(self, status: int, code: str, body: bytes, *, text: str) -> web.Response:
        self.books.note(status, code, text, cost=None, keep=self.settings.detail)
        return web.Response(status=status, body=body, content_type="text/html")

    async def _credits(self, request: web.Request) -> web.Response:
        """The balance. The pages name this address and not its answer; this form is the sandbox's own."""
        if not _key_of(request).startswith("sk-"):
            return self._error("invalid_api_key", "")
        left = parse_amount(self.settings.credits) - self.books.cost.credits
        return web.json_response({"credits": decimal_string(left)})

    async def _list_models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self._models]})

    async def _tell_books(self, request: web.Request) -> web.Response:
        return web.json_response(self.books.told(detail=bool(request.query.get("detail"))))

    async def _reset_books(self, _: web.Request) -> web.Response:
        self.books = Books(self.books.journal)
        self._seen.clear()
        return web.json_response({})

    async def _change(self, request: web.Request) -> web.Response:
        try:
            self.settings = changed(self.settings, await request.json())
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(msgspec.to_builtins(self.settings))


def _key_of(request: web.Request) -> str:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return bearer or request.headers.get("x-goog-api-key", "")
