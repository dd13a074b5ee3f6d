"""Client: the only place that sends. One exchange in, an answer or a failure out; it raises nothing of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import httpx
import msgspec

from rowmill.schemas.attempt import Answer, Failure, FailureKind
from rowmill.schemas.catalogue import Model
from rowmill.tasks.gateway.body import Body, decoded
from rowmill.tasks.gateway.credentials import SANDBOX_KEY, endpoint
from rowmill.tasks.gateway.dialer import tls_context
from rowmill.tasks.gateway.protocols.event_stream import is_complete, is_silence
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.gateway.proxies import NO_PROXIES, Proxies
from rowmill.tasks.gateway.redaction import Redactor
from rowmill.tasks.gateway.response import read_response
from rowmill.tasks.gateway.transport import Cut, Received, Route, TooLarge, TooSlow, Transport
from rowmill.tasks.system.clock import Clock

CONNECT_S = 30.0
GET_S = 5.0
ANSWER_MOST_BYTES = 64 * 2**20
# Above this a body is decoded beside the event loop.
LARGE_BYTES = 256 * 1024
# A value takes up to a hundred bytes once it is decoded, however few it took on the wire.
VALUES_MOST = 2_000_000
VALUE_SIGNS = (b",", b"[", b"{")
CALL_S = 1_800.0
_decoders = ThreadPoolExecutor(2, thread_name_prefix="rowmill-body")


class Exchange(msgspec.Struct, frozen=True):
    """One HTTP exchange: exactly one of `answer` and `failure` is set. `seconds` is its latency."""

    answer: Answer | None
    failure: Failure | None
    seconds: float


class Client:
    """Sends to one model of one gateway. Nothing is retried here and no redirect is followed."""

    def __init__(
        self,
        model: Model,
        *,
        base_url: str,
        api_key: str,
        timeout_s: float,
        stream: bool,
        clock: Clock,
        call_s: float = CALL_S,
    ) -> None:
        """`timeout_s` bounds the silence of a call, `call_s` the whole of it.

        Raises JobError for an address, a proxy or certificates that cannot be used.
        """
        self._model, self._clock, self._redactor = model, clock, Redactor(api_key)
        self._base_url = base_url
        self._url = endpoint(base_url, PROTOCOLS[model.protocol].path(model, stream=stream))
        self._headers = httpx.Headers(
            {
                "host": self._url.netloc.decode("ascii"),
                **_credentials(model, api_key),
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": "rowmill",
            }
        )
        self._transport = self._own_transport(is_sandbox=api_key == SANDBOX_KEY)
        self._route: Route | None = None
        self._extensions: dict[str, object] = {
            "timeout": {"connect": CONNECT_S, "read": timeout_s, "write": timeout_s, "pool": None, "total": call_s}
        }
        # Some servers answer with a stream whatever they were asked for, and send blank lines before a whole answer.
        self._extensions |= {"is_complete": is_complete, "is_silence": is_silence}
        self._timeout_s, self._call_s = timeout_s, call_s

    def _own_transport(self, *, is_sandbox: bool) -> Transport:
        # A sandbox that a command started for itself is on this machine.
        proxies = NO_PROXIES if is_sandbox else Proxies(os.environ)
        tls = tls_context() if self._url.scheme == "https" else None
        return Transport(most_bytes=ANSWER_MOST_BYTES, proxies=proxies, tls=tls)

    async def send(self, content: bytes) -> Exchange:
        """POST one body and read the whole response."""
        started = self._clock.now()
        try:
            received = await self._transport.send(self._route or self._begin(), content)
            result = await self._read(received)
        except httpx.HTTPError as error:
            result = self._redactor.failure(self._transport_failure(error))
        seconds = self._clock.now() - started
        if isinstance(result, Answer):
            return Exchange(result, None, seconds)
        return Exchange(None, result, seconds)

    def _begin(self) -> Route:
        """The way of every call, found with the first of them. Raises LocalProtocolError."""
        request = httpx.Request("POST", self._url, headers=self._headers, extensions=self._extensions)
        self._route = self._transport.route(request)
        return self._route

    async def _read(self, received: Received) -> Answer | Failure:
        """What a response says, without the key; decoded beside the event loop where that may take long.

        Raises DecodingError, TooLarge.
        """
        body = received.body
        try:
            if not body.encodings and len(body.content) <= LARGE_BYTES:
                return self._redacted(received, body.content)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(_decoders, lambda: self._redacted(received, _plain(body)))
        finally:
            body.release()

    def _redacted(self, received: Received, content: bytes) -> Answer | Failure:
        result = self._judge(received, content)
        if isinstance(result, Answer):
            return self._redactor.value(result)
        if (target := _redirect_target(received)) is not None:
            words = f"HTTP {received.status} redirects to {target}, and redirects are not followed"
            result = msgspec.structs.replace(result, message=words)
        return self._redactor.failure(result)

    async def get(self, path: str) -> bytes | None:
        """The body of a 200 from another address of the gateway; None for anything else, or when it takes long."""
        headers = {name: value for name, value in self._headers.items() if name != "content-type"}
        timeout = {"connect": GET_S, "read": GET_S, "write": GET_S, "pool": None, "total": GET_S}
        request = httpx.Request("GET", endpoint(self._base_url, path), headers=headers, extensions={"timeout": timeout})
        try:
            received = await self._transport.send(self._transport.route(request), b"")
            body = received.body
            try:
                return await asyncio.to_thread(_plain, body) if received.status == 200 else None
            finally:
                body.release()
        except httpx.HTTPError:
            return None

    def _judge(self, received: Received, content: bytes) -> Answer | Failure:
        # Headers are read where there is something to be read in them.
        headers = {} if 200 <= received.status < 300 else httpx.Headers(received.headers)
        return read_response(received.status, headers, content, model=self._model, wall=self._clock.wall())

    def _transport_failure(self, error: httpx.HTTPError) -> Failure:
        """What the transport raised → the failure it is. Told apart by its class, not by words."""
        place = f"{self._url.scheme}://{self._url.netloc.decode('ascii')}"
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return Failure(_unreachable(error.__cause__), f"{place} cannot be reached: {error}")
        if isinstance(error, TooSlow):
            words = f"no whole answer from {place} within {self._call_s:g} s (limits.call_s)"
            return Failure(FailureKind.TIMEOUT, words)
        if isinstance(error, httpx.TimeoutException):
            return Failure(FailureKind.TIMEOUT, f"no byte from {place} for {self._timeout_s:g} s")
        if isinstance(error, TooLarge):
            return Failure(FailureKind.UNREADABLE_BODY, f"the answer is too large: {error}")
        if isinstance(error, httpx.DecodingError):
            return Failure(FailureKind.UNREADABLE_BODY, f"the answer's encoding cannot be undone: {error}")
        if isinstance(error, Cut):
            return Failure(FailureKind.TRUNCATED, "the answer ended before it was complete")
        return Failure(FailureKind.DISCONNECT, str(error) or "the connection was lost")

    async def aclose(self) -> None:
        await self._transport.aclose()


def _credentials(model: Model, api_key: str) -> dict[str, str]:
    """The header that holds the key, where the model's server asks for one."""
    if model.auth == "none":
        return {}
    return {"authorization": f"Bearer {api_key}"} if model.auth == "bearer" else {model.auth: api_key}


def _unreachable(cause: BaseException | None) -> FailureKind:
    """Why no connection was made: a certificate and a name do not get better by waiting."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FailureKind.UNTRUSTED_CERTIFICATE
    if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
        return FailureKind.UNKNOWN_HOST
    return FailureKind.UNREACHABLE


def _redirect_target(received: Received) -> str | None:
    """Where a redirect points to, without a query, which may be a secret."""
    if not 300 <= received.status < 400:
        return None
    location: str | None = httpx.Headers(received.headers).get("location")
    return None if location is None else location.partition("?")[0].rpartition("@")[2][:200]


def _plain(body: Body) -> bytes:
    """A body that is encoded though nobody asked for it is understood all the same. Raises DecodingError, TooLarge."""
    content = decoded(body.content, body.encodings, ANSWER_MOST_BYTES) if body.encodings else body.content
    values = 0
    # In steps: each holds the interpreter's lock.
    for at in range(0, len(content), LARGE_BYTES):
        values += sum(content.count(sign, at, at + LARGE_BYTES) for sign in VALUE_SIGNS)
        if values > VALUES_MOST:
            raise TooLarge(f"more than {VALUES_MOST:,} JSON values")
    return content
