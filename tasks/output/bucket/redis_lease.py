"""Redis lease: who may write an output, where its bucket does not hold to the conditions of a write.

One key an output, set where it is not there and renewed by its holder alone; it ends by itself when its holder does not
renew it. Each lease of a cluster's worker is a key that is set once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from rowmill.schemas.errors import OutputError, first_line
from rowmill.tasks.gateway.admission.shared_limits import ANSWER_S, address_of
from rowmill.tasks.output.bucket.stores import server_of

VARIABLE = "ROWMILL_REDIS_URL"
# A claim is known for so long after the work it is of: no engine gives the same work out again later.
CLAIM_S = 86_400
_RENEW = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= ARGV[3] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ''
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class RedisLease:
    """The hold on one output in the Redis that all its machines reach. Raises OSError where that does not answer."""

    def __init__(self, url: str, output: str) -> None:
        """Raises OutputError where the client is not installed, or the address is none."""
        try:
            from redis import Redis
            from redis.exceptions import RedisError
        except ImportError:
            raise OutputError(
                "a lease in Redis needs the redis package", where=VARIABLE, hint="pip install 'rowmill[fleet]'"
            ) from None
        try:
            self._client: Any = Redis.from_url(
                url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, decode_responses=True
            )
        except ValueError as error:
            raise OutputError(
                f"no address of a Redis: {error}", where=VARIABLE, hint="write it as redis://host:6379"
            ) from None
        self.address, self._error = address_of(url), RedisError
        name = blake2b(
            f"{server_of(output)}\0{output.rstrip('/')}".encode(), digest_size=12, person=b"rowmill"
        ).hexdigest()
        self._key = f"rowmill:{{{name}}}:lease"

    def take(self, token: str, seconds: float, *, over: str = "") -> str | None:
        """Hold it for so long; None where it is ours, else the token of who holds it. `over` was ours too."""
        return self._asked(lambda: self._client.eval(_RENEW, 1, self._key, token, int(seconds * 1_000), over)) or None

    def release(self, token: str) -> None:
        self._asked(lambda: self._client.eval(_RELEASE, 1, self._key, token))

    def claim(self, token: str) -> bool:
        """Whether nobody has claimed this lease of a worker before; the client asks again where an answer was lost."""
        key, ours = f"{self._key}:{token}", secrets.token_hex(8)
        if self._asked(lambda: self._client.set(key, ours, nx=True, ex=CLAIM_S)):
            return True
        return bool(self._asked(lambda: self._client.get(key)) == ours)

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except self._error as error:
            raise OSError(0, f"the Redis of its lease does not answer: {first_line(error)}", self.address) from None


def claims_in_redis(output: str, environment: Mapping[str, str]) -> Callable[[str], bool]:
    """How a worker claims its lease where the bucket cannot tell who came first. Raises OutputError."""
    url = environment.get(VARIABLE)
    if not url:
        raise OutputError(
            "its bucket does not hold to conditional writes, so leases are in Redis",
            where=VARIABLE,
            hint="give every worker the coordinator's in its environment",
        )
    return RedisLease(url, output).claim
