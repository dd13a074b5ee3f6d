"""Fleet: the limits of one key, shared by all runs that use it, through a Redis that all of them reach.

Each run tells once a second what it wants and is given a share. All shares together never pass the limit: a newcomer
gets what nobody holds, and the others give back at their next beat. Between beats a run goes by its share alone, so the
store sees one request a second from each, and may be lost: a run then keeps its share, and says so.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rowmill.schemas.errors import JobError, first_line
from rowmill.schemas.termination import Termination, TerminationKind

log = logging.getLogger("rowmill")
BEAT_S = 1.0
# A store that does not answer within this is taken as lost until the next beat.
ANSWER_S = 2.0
# A run that was not heard of for so long is gone, and its share with it.
GONE_S = 10.0
HALT_MS = 60_000
# What one refuses for all who use the key: they stop within their calls in flight.
TOLD_TO_ALL = frozenset({TerminationKind.SPEND_LIMIT, TerminationKind.INSUFFICIENT_CREDITS, TerminationKind.AUTH})
HINT = "start that Redis, set ROWMILL_REDIS_URL to another, or take limits.shared out of the job"
_SCRIPT = (Path(__file__).parent / "share.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Share:
    """Requests and tokens a minute: of the whole, wanted, or granted. 0 where there is no such limit."""

    rpm: float = 0.0
    tpm: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a beat brought: the store's time in ms, our share, and a halt that another run met."""

    now_ms: float
    share: Share
    halt: Any = None


def group_of(base_url: str, api_key: str) -> str:
    """The name under which a key's runs find each other; the key cannot be read from it."""
    return blake2b(f"{base_url}\0{api_key}".encode(), digest_size=12, person=b"rowmill").hexdigest()


def address_of(url: str) -> str:
    """A store's address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


class Store:
    """The beats of one group in one Redis. A `now_ms` stands in for the store's own clock."""

    def __init__(self, client: Any, group: str) -> None:
        self._client, self._members, self._halt = client, f"rowmill:{{{group}}}:runs", f"rowmill:{{{group}}}:halt"
        self._script = client.register_script(_SCRIPT)

    async def beat(self, seat: str, limit: Share, wanted: Share, *, held: Share, now_ms: float | None = None) -> Told:
        """Tell what is wanted and held, and be told the share. Raises what the client raises."""
        arguments = [seat, "" if now_ms is None else now_ms, GONE_S * 1_000]
        for name in ("rpm", "tpm"):
            arguments += [getattr(limit, name), getattr(wanted, name), getattr(held, name)]
        now, rpm, tpm, halt = await self._script(keys=[self._members, self._halt], args=arguments)
        return Told(float(now), Share(float(rpm), float(tpm)), json.loads(halt) if halt else None)

    async def leave(self, seat: str) -> None:
        await self._client.hdel(self._members, seat)

    async def tell_halt(self, halt: dict[str, Any]) -> None:
        await self._client.set(self._halt, json.dumps(halt), px=HALT_MS)

    async def close(self) -> None:
        await self._client.aclose()


def open_store(url: str, group: str) -> Store:
    """Raises JobError where the address is none or the client is not installed."""
    return Store(open_redis(url, "limits.shared"), group)


def open_redis(url: str, key: str) -> Any:
    """A client of the Redis that runs share, for what the job's `key` asks of it.

    Raises JobError where the address is none or the client is not installed.
    """
    try:
        from redis.asyncio import Redis
    except ImportError:
        raise JobError(f"{key} needs the redis package", where=key, hint="pip install 'rowmill[fleet]'") from None
    try:
        return Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, decode_responses=True)
    except ValueError as error:
        raise JobError(
            f"no address of a Redis: {error}", where="ROWMILL_REDIS_URL", hint="write it as redis://host:6379"
        ) from None


class Seat:
    """One run among those that share a key. `wants` is what it could use now; `apply` takes a new share."""

    def __init__(
        self,
        store: Store,
        limit: Share,
        address: str,
        *,
        wants: Callable[[], Share],
        apply: Callable[[Share], None],
        on_halt: Callable[[Termination], None],
    ) -> None:
        self._store, self._limit, self._address, self._wants, self._apply = store, limit, address, wants, apply
        self._on_halt = on_halt
        self._id = secrets.token_hex(8)
        self._held = Share()
        self._since_ms = 0.0
        self._now_ms = 0.0
        self._lost = False

    async def take(self) -> None:
        """Sit down. Raises JobError, naming the address, where the store cannot be reached: nothing was sent yet."""
        try:
            told = await asyncio.wait_for(self._beat(), ANSWER_S)
        except Exception as error:
            why = f"the store of shared limits cannot be used: {first_line(error)}"
            raise JobError(why, where=self._address, hint=HINT) from None
        self._since_ms = told.now_ms

    async def keep(self) -> None:
        """Beat as long as the run lives."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                told = await asyncio.wait_for(self._beat(), ANSWER_S)
            except Exception as error:
                if not self._lost:
                    log.warning(
                        "%s: the store of shared limits is lost (%s); this run keeps its share of %g requests and %g "
                        "tokens a minute", self._address, type(error).__name__, self._held.rpm, self._held.tpm,
                    )  # fmt: skip
                self._lost = True
                continue
            if self._lost:
                log.warning("%s: the store of shared limits is back", self._address)
                self._lost = False
            self._on_reply(told)

    def _on_reply(self, told: Told) -> None:
        """A halt that another run met since we began, or began anew, is ours too."""
        halt = told.halt
        if halt is not None and halt["by"] != self._id and halt["at_ms"] > self._since_ms:
            self._on_halt(Termination(TerminationKind(halt["kind"]), halt["code"], halt["message"], halt["next"]))

    async def _beat(self) -> Told:
        told = await self._store.beat(self._id, self._limit, self._wants(), held=self._held)
        self._now_ms = told.now_ms
        if told.share != self._held:
            self._held = told.share
            self._apply(told.share)
        return told

    def reset(self) -> None:
        """After a wait: halts of before mean nothing any more."""
        self._since_ms = self._now_ms

    async def tell(self, halt: Termination) -> None:
        """Tell the others what stops them too. A store that is lost is told nothing."""
        if halt.kind not in TOLD_TO_ALL:
            return
        told = {"by": self._id, "at_ms": self._now_ms + 1, "kind": halt.kind.value, "code": halt.code,
                "message": halt.message, "next": halt.next}  # fmt: skip
        try:
            await asyncio.wait_for(self._store.tell_halt(told), ANSWER_S)
        except Exception as error:
            log.warning("%s: the other runs could not be told to stop (%s)", self._address, type(error).__name__)

    async def aclose(self) -> None:
        """Give the share back."""
        try:
            await asyncio.wait_for(self._store.leave(self._id), ANSWER_S)
        except Exception as error:
            log.info("%s: left without a word (%s)", self._address, type(error).__name__)
        await self._store.close()
