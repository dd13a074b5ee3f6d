"""Bucket mailbox: the notices of a run whose output stands in a bucket, each an object that is written over.

The coordinator's are put only over what it put before, while it holds the output: one that slept while another took
over grants nothing. A lease is claimed by an object that is put once, or in Redis where the server has no such write.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

from rowmill.tasks.cluster.mailbox import BEAT_S, GRANTS, Heartbeat, LeaseGrants
from rowmill.tasks.output.bucket.objects import Conflict, Objects
from rowmill.tasks.output.bucket.worker_pieces import BOARD

# Longer than in a folder: a request that fails is asked again for seconds.
LEASE_S = 12.0
ENDED_S = LEASE_S + 2 * BEAT_S

Posted = TypeVar("Posted", LeaseGrants, Heartbeat)


class BucketMailbox:
    """The notices below one address. `may_grant` raises OSError where the output is not held any more."""

    lease_s, ended_s = LEASE_S, ENDED_S

    def __init__(
        self,
        objects: Objects,
        may_grant: Callable[[], None] = lambda: None,
        claims: Callable[[str], bool] | None = None,
    ) -> None:
        """`claims` takes up a lease where the bucket cannot tell who came first."""
        self._objects, self._may_grant, self._claims = objects, may_grant, claims
        self._tag: str | None = None

    def open(self) -> None:
        self._take_down()

    @property
    def is_open(self) -> bool:
        told = self.read(GRANTS, LeaseGrants)
        return told is not None and told.run != ""

    def close(self) -> None:
        with suppress(OSError):
            self._may_grant()
            self._take_down()

    def _take_down(self) -> None:
        self._objects.delete([one.name for one in self._objects.list(BOARD.rstrip("/"))])
        self._tag = None

    def post(self, name: str, notice: LeaseGrants | Heartbeat) -> None:
        content = msgspec.json.encode(notice)
        if name == GRANTS:
            self._may_grant()
            self._tag = self._objects.put(f"{BOARD}{name}", content, over=self._tag)
        else:
            self._objects.write(f"{BOARD}{name}", content)

    def read(self, name: str, kind: type[Posted]) -> Posted | None:
        try:
            return msgspec.json.decode(self._objects.get(f"{BOARD}{name}"), type=kind)
        except (OSError, msgspec.MsgspecError):
            return None

    def claim(self, token: str) -> bool:
        if self._claims is not None:
            return self._claims(token)
        try:
            self._objects.put(f"{BOARD}{token}.claim", secrets.token_bytes(8), over=None)
        except Conflict:
            return False
        return True

    def knock(self) -> None:
        """See that this process may write there. Raises OSError."""
        name = f"{BOARD}{secrets.token_hex(8)}.knock"
        self._objects.write(name, b"")
        self._objects.delete([name])
