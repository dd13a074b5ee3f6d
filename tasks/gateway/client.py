"""Client: the only place that sends. One exchange in, an answer or a failure out; it raises nothing of its own."""

from __future__ import annotations

import json
import socket
import ssl
from typing import cast

import httpx
import msgspec

from rowmill.schemas.attempt import Answer, Failure, FailureKind
from rowmill.schemas.catalogue import Model
from rowmill.schemas.errors import JobError
from rowmill.tasks.gateway.protocols.event_stream import is_complete, is_silence
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.gateway.response import read_response
from rowmill.tasks.gateway.transport import Cut, TooLarge, Transport
from rowmill.tasks.system.clock import Clock

CONNECT_S = 30.0
GET_S = 5.0
ANSWER_MOST_BYTES = 64 * 2**20
REDACTED = "[key redacted]"
# A key shorter than this could stand in an answer by chance; in an error's words it is redacted all the same.
KEY_LEAST = 12


class Exchange(msgspec.Struct, frozen=True):
    """One HTTP exchange: exactly one of `answer` and `failure` is set. `seconds` is its latency."""

    answer: Answer | None
    failure: Failure | None
    seconds: float


class Client:
    """Sends to one model of one gateway. Retries, redirects and proxies from the environment are all off."""

    def __init__(
        self,
        model: Model,
        *,
        base_url: str,
        api_key: str,
        timeout_s: float,
        stream: bool,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._model, self._clock, self._key = model, clock, api_key
        self._base_url = base_url
        self._url = endpoint(base_url, PROTOCOLS[model.protocol].path(model, stream=stream))
        key = f"Bearer {api_key}" if model.auth == "bearer" else api_key
        self._headers = httpx.Headers(
            {
                "host": self._url.netloc.decode("ascii"),
                "authorization" if model.auth == "bearer" else model.auth: key,
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": "rowmill",
            }
        )
        self._transport = transport or Transport(most_bytes=ANSWER_MOST_BYTES)
        self._extensions: dict[str, object] = {
            "timeout": {"connect": CONNECT_S, "read": timeout_s, "write": timeout_s, "pool": None}
        }
        if stream:
            self._extensions |= {"is_complete": is_complete, "is_silence": is_silence}
        self._timeout_s = timeout_s

    async def send(self, content: bytes) -> Exchange:
        """POST one body and read the whole response."""
        started = self._clock.now()
        request = httpx.Request(
            "POST", self._url, headers=self._headers, stream=httpx.ByteStream(content), extensions=self._extensions
        )
        try:
            received = await _read(response := await self._transport.handle_async_request(request))
        except httpx.HTTPError as error:
            result: Answer | Failure = self._transport_failure(error)
        else:
            result = self._judge(response, received)
        seconds = self._clock.now() - started
        if isinstance(result, Answer):
            return Exchange(result, None, seconds)
        return Exchange(None, Failure(result.kind, self.redact(result.message), result.retry_after), seconds)

    async def get(self, path: str) -> bytes | None:
        """The body of a 200 from another address of the gateway; None for anything else, or when it takes long."""
        headers = {name: value for name, value in self._headers.items() if name != "content-type"}
        timeout = {"connect": GET_S, "read": GET_S, "write": GET_S, "pool": None}
        request = httpx.Request("GET", endpoint(self._base_url, path), headers=headers, extensions={"timeout": timeout})
        try:
            response = await self._transport.handle_async_request(request)
            return await _read(response) if response.status_code == 200 else None
        except httpx.HTTPError:
            return None

    def _judge(self, response: httpx.Response, received: bytes) -> Answer | Failure:
        if len(self._key) >= KEY_LEAST and self._key.encode() in received:
            received = received.replace(self._key.encode(), REDACTED.encode())
        return read_response(
            response.status_code, response.headers, received, model=self._model, wall=self._clock.wall()
        )

    def _transport_failure(self, error: httpx.HTTPError) -> Failure:
        """What the transport raised → the failure it is. Told apart by its class, not by words."""
        place = f"{self._url.scheme}://{self._url.netloc.decode('ascii')}"
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return Failure(_unreachable(error.__cause__), f"{place} cannot be reached: {error}")
        if isinstance(error, httpx.TimeoutException):
            return Failure(FailureKind.TIMEOUT, f"no byte from {place} for {self._timeout_s:g} s")
        if isinstance(error, TooLarge):
            return Failure(FailureKind.UNREADABLE_BODY, f"the answer is too large: {error}")
        if isinstance(error, httpx.DecodingError):
            return Failure(FailureKind.UNREADABLE_BODY, f"the answer's encoding cannot be undone: {error}")
        if isinstance(error, Cut):
            return Failure(FailureKind.TRUNCATED, "the answer ended before it was complete")
        return Failure(FailureKind.DISCONNECT, str(error) or "the connection was lost")

    def redact(self, text: str) -> str:
        """The text without the key, should the gateway echo it."""
        if not self._key:
            return text
        escaped = json.dumps(self._key)[1:-1]
        return text.replace(self._key, REDACTED).replace(escaped, REDACTED)

    async def aclose(self) -> None:
        await self._transport.aclose()


def _unreachable(cause: BaseException | None) -> FailureKind:
    """Why no connection was made: a certificate and a name do not get better by waiting."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FailureKind.UNTRUSTED_CERTIFICATE
    if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
        return FailureKind.UNKNOWN_HOST
    return FailureKind.UNREACHABLE


def endpoint(base_url: str, path: str) -> httpx.URL:
    """Base address + path. A base that already ends in /v1 is not doubled. Raises JobError for what is no address."""
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise JobError(
            f"{base_url!r} is no web address",
            where="ROWMILL_BASE_URL",
            hint="write it as https://host, without the path",
        )
    base = base_url.rstrip("/")
    if path.startswith("/v1/"):
        base = base.removesuffix("/v1")
    return httpx.URL(base + path)


async def _read(response: httpx.Response) -> bytes:
    """The whole body; one that is encoded though nobody asked for it is understood all the same.

    Raises DecodingError, TooLarge.
    """
    encoded = "content-encoding" in response.headers
    stream = response.aiter_bytes() if encoded else cast(httpx.AsyncByteStream, response.stream)
    chunks: list[bytes] = []
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > ANSWER_MOST_BYTES:
            raise TooLarge(f"more than {ANSWER_MOST_BYTES:,} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
