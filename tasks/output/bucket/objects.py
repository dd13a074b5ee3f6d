"""Objects: files of an output in a bucket: put once, put over what was seen, list, get, delete.

By obstore, since pyarrow's client has no conditional write. Address and credentials are found as that library finds
them (`AWS_ACCESS_KEY_ID`, web identity, the machine's role).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from rowmill.schemas.errors import first_line
from rowmill.tasks.output.bucket.refusals import meaning
from rowmill.tasks.output.bucket.stores import open_store, server_of

# Objects that are read at a time.
READ_AT_ONCE = 16


# What follows the reason in the client's text: the answer as it came, and how it was tried.
_CUT = re.compile(r": <\?xml|: <Error>|\\n")


class Conflict(OSError):
    """Somebody else has written this object."""


class NotSupported(OSError):
    """The server knows nothing of such a request; its text names what."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object below the output's address."""

    name: str
    size: int
    etag: str


class Objects:
    """The objects below one address. Everything raises OSError where the bucket refuses or cannot be reached."""

    def __init__(self, url: str, *, conditional: bool = True) -> None:
        """`conditional` where the server holds to the conditions of a write. Where it does not, they are looked at
        before the write, and somebody else has to see that nobody writes in between.

        Raises OutputError where the client is not installed, or the address is none.
        """
        self.conditional = conditional
        # Seen where an object was written.
        self.keeps_versions = False
        self._store = open_store(url)
        import obstore
        from obstore import exceptions

        self.url, self._api, self._errors = url.rstrip("/"), obstore, exceptions
        self._server = server_of(url)

    def put(self, name: str, content: bytes, *, over: str | None) -> str:
        """Write an object that nobody has written yet, or `over` the one with that tag. Returns its tag.

        Raises Conflict where another stands there; one with the same content is this one, whose answer was lost.
        """
        if not self.conditional and self._tag_of(name) == over:
            return self.write(name, content)
        mode: Any = "create" if over is None else {"e_tag": over}
        with self._answered(name):
            try:
                if self.conditional:
                    return self._written(self._api.put(self._store, name, content, mode=mode, use_multipart=False))
            except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
                pass
        if (held := self._same(name, content)) is None:
            raise Conflict(errno.EEXIST, "another run has written it", f"{self.url}/{name}")
        return held

    def write(self, name: str, content: bytes) -> str:
        """Write an object that nobody else writes. Returns its tag."""
        with self._answered(name):
            return self._written(self._api.put(self._store, name, content, mode="overwrite", use_multipart=False))

    def _written(self, meta: Any) -> str:
        self.keeps_versions = self.keeps_versions or meta.get("version") not in (None, "null")
        return _tag(meta)

    def _tag_of(self, name: str) -> str | None:
        """The tag of an object; None where there is none."""
        with suppress(FileNotFoundError), self._answered(name, may_be_absent=True):
            return _tag(self._api.head(self._store, name))
        return None

    def _same(self, name: str, content: bytes) -> str | None:
        """The tag of the object that stands there, where it holds just this."""
        try:
            held, tag = self.get_tagged(name)
        except OSError:
            return None
        return tag if held == content else None

    def get(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is none."""
        return self.get_tagged(name)[0]

    def get_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """The contents of these objects in their order. Raises FileNotFoundError where one is not there."""
        with ThreadPoolExecutor(READ_AT_ONCE) as pool:
            yield from pool.map(self.get, names)

    def get_tagged(self, name: str) -> tuple[bytes, str]:
        """Content and tag. Raises FileNotFoundError where there is none."""
        with self._answered(name, may_be_absent=True):
            found = self._api.get(self._store, name)
            return bytes(found.bytes()), _tag(found.meta)

    def list(self, prefix: str | None = None) -> Iterator[Object]:
        """The objects, or those below a folder of them."""
        with self._answered(""):
            for batch in self._api.list(self._store, prefix=prefix):
                for meta in batch:
                    yield Object(str(meta["path"]), int(meta["size"]), _tag(meta))

    def delete(self, names: Sequence[str]) -> None:
        """One that is not there is deleted."""
        with suppress(FileNotFoundError), self._answered("", may_be_absent=True):
            if names:
                self._api.delete(self._store, list(names))

    @contextmanager
    def _answered(self, name: str, *, may_be_absent: bool = False) -> Iterator[None]:
        """What the bucket refuses is told as an OSError with its address; an absent object as such where it may be."""
        try:
            yield
        except (self._errors.BaseError, OSError) as error:
            if may_be_absent and isinstance(error, FileNotFoundError):
                raise
            where = f"{self.url}/{name}".rstrip("/")
            if "501 Not Implemented" in str(error) or isinstance(error, self._errors.NotSupportedError):
                raise NotSupported(errno.ENOTSUP, "conditional writes", where) from None
            told = meaning(str(error)) or _CUT.split(first_line(error))[0]
            raise OSError(errno.EIO, f"{self._server} refuses it: {told}", where) from None


def _tag(meta: Any) -> str:
    # Azure's listing tells it without quotation marks, and only there.
    return '"' + str(meta["e_tag"]).strip('"') + '"'
