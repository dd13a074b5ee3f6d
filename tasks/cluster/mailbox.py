"""Mailbox: what the coordinator and the workers of a run tell each other, once a second, where the output stands.

The coordinator posts its orders: who holds which lease, with which portion of the limits, and whether all must stop.
Each worker posts how it goes. A beat that stays away ends a lease by the worker's own clock, so nobody's clock is
compared with another's.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from rowmill.schemas.termination import Termination
from rowmill.tasks.gateway.admission.traffic import Traffic

BEAT_S = 1.0
# A worker that saw no new beat for so long sends nothing more.
LEASE_S = 6.0
# After so long a lease that was taken away has ended wherever its holder is: it may have seen its last beat late.
ENDED_S = LEASE_S + 2 * BEAT_S
FOLDER, GRANTS = ".board", "orders"


class Quota(msgspec.Struct, frozen=True):
    """What one worker may use of the limits: calls and tokens a minute (0 where there is no such limit), calls in
    flight, and money over its whole lease in 10⁻¹² USD (None where there is no cap).
    """

    rpm: float = 0.0
    tpm: float = 0.0
    concurrency: int = 0
    usd: int | None = None


class LeaseGrants(msgspec.Struct, frozen=True):
    """What the coordinator says. `proved`: a call of the run has shown that key, address and model are right. `halt`
    ends the run for calls that are not in flight, `at_once` for those too. `at` is when it says so by its own clock, in
    seconds since 1970 UTC.
    """

    run: str
    beat: int
    leases: dict[str, Quota]
    verified: bool = False
    halt: Termination | None = None
    force: bool = False
    at: float = 0.0


class Heartbeat(msgspec.Struct, frozen=True):
    """What a worker says. `portion` is what it goes by, never less than it holds; money in 10⁻¹² USD.

    `usd` is the cost of the rows settled, `spent` all that this lease has cost or may yet, `short` what a call needs
    that its portion does not cover. `proved`: the gateway has taken a call of its.
    """

    beat: int
    quota: Quota
    traffic: Traffic = Traffic()
    settled: int = 0
    not_ok: int = 0
    usd: int = 0
    spent: int = 0
    short: int = 0
    verified: bool = False
    halt: Termination | None = None


Posted = TypeVar("Posted", LeaseGrants, Heartbeat)


class Mailbox(Protocol):
    """The notices of one run. `lease_s` without a new beat end a lease by its holder's clock; after `ended_s` it has
    ended wherever its holder is.
    """

    lease_s: float
    ended_s: float

    def open(self) -> None:
        """Without notices of an earlier run, made by the coordinator. Raises OSError."""

    @property
    def is_open(self) -> bool:
        """Whether a coordinator has left it so, as it does when it is killed."""

    def close(self) -> None:
        """No grants for anyone any more. Raises OSError."""

    def post(self, name: str, notice: LeaseGrants | Heartbeat) -> None:
        """Raises OSError."""

    def read(self, name: str, kind: type[Posted]) -> Posted | None:
        """A notice; None where there is none, or while it is being written."""

    def claim(self, token: str) -> bool:
        """Take up a lease; False where another process has taken it up before. Raises OSError."""


class FolderMailbox:
    """Notices in an output folder, each a small file that is written over in place: a file system that other machines
    mount tells of that sooner than of a new file under an old name.
    """

    lease_s, ended_s = LEASE_S, ENDED_S

    def __init__(self, output: Path) -> None:
        self._folder = output / FOLDER

    def open(self) -> None:
        """A board without notices of an earlier run, made by the coordinator."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._take_down()

    @property
    def is_open(self) -> bool:
        """Whether a coordinator has left it so, as it does when it is killed."""
        told = self.read(GRANTS, LeaseGrants)
        return told is not None and told.run != ""

    def close(self) -> None:
        """No orders for anyone any more. The file stays: other machines know its place."""
        if self._folder.is_dir():
            self.post(GRANTS, LeaseGrants("", 0, {}))
            self._take_down()

    def _take_down(self) -> None:
        for path in self._folder.iterdir():
            if path.name != GRANTS:
                path.unlink()

    def post(self, name: str, notice: LeaseGrants | Heartbeat) -> None:
        """Raises OSError."""
        body = msgspec.json.encode(notice)
        fd = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(fd, b"%08x %08x %s" % (zlib.crc32(body), len(body), body), 0)
        finally:
            os.close(fd)

    def read(self, name: str, kind: type[Posted]) -> Posted | None:
        """A notice; None where there is none, or while it is being written."""
        try:
            held = (self._folder / name).read_bytes()
            crc, length = int(held[:8], 16), int(held[9:17], 16)
        except (OSError, ValueError):
            return None
        body = held[18 : 18 + length]
        return msgspec.json.decode(body, type=kind) if zlib.crc32(body) == crc else None

    def claim(self, token: str) -> bool:
        """Take up a lease; False where another process has taken it up before. Raises OSError."""
        try:
            os.close(os.open(self._folder / f"{token}.claim", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True
