"""Hold: the right of one run to write an output in a bucket: an object that its holder changes again and again.

Who finds it unchanged for long enough may take it; by then its holder has stopped writing by its own clock. On one
machine the copy's folder is held by a lock of the kernel's, so that a run that was killed is gone on with at once.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rowmill.schemas.errors import OutputError
from rowmill.tasks.output.bucket.objects import Conflict, Objects
from rowmill.tasks.output.bucket.redis_lease import RedisLease
from rowmill.tasks.system.process import in_use, this_process

log = logging.getLogger("rowmill")
LOCK, HELD = ".lock", ".held.lock"
# Who has not renewed for so long writes nothing more; after a while more another may take it.
HOLD_S, TAKE_S = 20.0, 30.0
LOOK_S = 1.0
COPY_LOOKS, COPY_LOOK_S = 12, 0.25
HINT = "mend the bucket or its credentials and run the same command again: what was settled stands"


class BucketLease:
    """The hold on one output, and on its copy in `folder`. Where the bucket does not hold to the conditions of a write
    (`arbiter`), it is in Redis, and the object tells of it.
    """

    def __init__(self, objects: Objects, folder: Path, now: Callable[[], float]) -> None:
        self._objects, self._folder, self._now = objects, folder, now
        self._token = secrets.token_hex(8)
        self._tag: str | None = None
        self._fd = -1
        self.arbiter: RedisLease | None = None
        # By our own clock; who writes after that may write over another.
        self.until = float("-inf")
        # Whether the run before was of this copy and was killed: what it wrote here is newer than the bucket.
        self.goes_on = False

    def take(self) -> None:
        """Raises OutputError where another run holds it, or where the bucket cannot be used."""
        before = self._take_copy()
        try:
            self._take_in_redis(before)
            try:
                self._put(over=None)
            except Conflict:
                self._take_over(before)
        except OSError as error:
            raise OutputError(str(error.strerror), where=self._objects.url, hint=HINT) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, self._token.encode(), 0)

    def _take_in_redis(self, before: str) -> None:
        """Raises OutputError where another has it and renews it, OSError."""
        if self.arbiter is None:
            return
        until = self._now() + TAKE_S
        while self.arbiter.take(self._token, HOLD_S, over=before) is not None:
            if self._now() >= until:
                raise in_use(self._objects.url, f"another machine, by {self.arbiter.address}")
            time.sleep(LOOK_S)

    def claim(self, token: str) -> bool:
        """Whether a worker's lease has not been claimed before. Raises OSError."""
        assert self.arbiter is not None
        return self.arbiter.claim(token)

    def _take_copy(self) -> str:
        """One process a copy. Returns the token of the run that held it before."""
        for _ in range(COPY_LOOKS):
            if self.take_copy():
                return os.read(self._fd, 100).decode("ascii", "replace")
            # Another command may only be reading it.
            time.sleep(COPY_LOOK_S)
        raise in_use(self._objects.url, f"on this machine, in {self._folder}")

    def take_copy(self) -> bool:
        """Let no other process of this machine fetch or work in the copy; False where one does."""
        if self._fd < 0:
            self._fd = os.open(self._folder / HELD, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _put(self, over: str | None) -> None:
        since = self._now()
        if self.arbiter is not None and self.arbiter.take(self._token, HOLD_S) is not None:
            raise Conflict(errno.EEXIST, "another run has taken it", self._objects.url)
        # Another content each time: the tag of an object is that of its content.
        content = json.dumps({"owner": this_process(), "token": self._token, "renewed": secrets.token_hex(4)}).encode()
        self._tag = self._objects.put(LOCK, content, over=over)
        self.until = since + HOLD_S

    def _take_over(self, before: str) -> None:
        """Take what its holder does not renew any more, or what a run of this copy left when it was killed."""
        tag, owner, token = self._seen() or (None, "", before)
        if token == before:
            self.goes_on = tag is not None
        elif not self._is_left(tag, owner):
            raise in_use(self._objects.url, owner)
        try:
            self._put(over=tag)
        except Conflict:
            raise in_use(self._objects.url, owner) from None

    def _is_left(self, tag: str | None, owner: str) -> bool:
        """Whether nobody renews it for as long as its holder may live."""
        log.warning("%s is locked by %s: waiting %g s to see whether that lives", self._objects.url, owner, TAKE_S)
        until = self._now() + TAKE_S
        while self._now() < until:
            time.sleep(LOOK_S)
            if (seen := self._seen()) is None or seen[0] != tag:
                return False
        return True

    def _seen(self) -> tuple[str, str, str] | None:
        """The object's tag, its owner and token; None where there is none."""
        try:
            content, tag = self._objects.get_tagged(LOCK)
            told = json.loads(content)
            return tag, str(told["owner"]), str(told["token"])
        except FileNotFoundError:
            return None

    def renew(self) -> None:
        """Raises Conflict where another has taken it, OSError where the bucket does not answer."""
        try:
            self._put(over=self._tag)
        except Conflict:
            self.until = float("-inf")
            raise

    def refuse_unless_held(self) -> None:
        """Raises OSError once the hold has run out."""
        if self._now() >= self.until:
            raise OSError(
                errno.EAGAIN, "the hold on this output was lost: another run may have taken it", self._objects.url
            )

    def release(self) -> None:
        """Let go of it where it is still ours."""
        if self._now() < self.until:
            with suppress(OSError):
                self._objects.delete([LOCK])
                if self.arbiter is not None:
                    self.arbiter.release(self._token)
        if self._fd >= 0:
            os.close(self._fd)
