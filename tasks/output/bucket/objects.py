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
from hashlib import blake2b
from pathlib import Path
from typing import Any

from rowmill.schemas.errors import first_line
from rowmill.tasks.output.bucket.refusals import meaning
from rowmill.tasks.output.bucket.stores import open_store, server_of, store_of

# Objects that are read at a time.
READ_AT_ONCE = 16
CHUNK_BYTES = 4 << 20
# Objects whose version is known without asking: a run writes over few.
VERSIONS_HELD = 256


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
        self._store, self._words = open_store(url), store_of(url)
        # Digests of what was to be written over an object and no answer came: any of it may stand there by now.
        self._unheard: dict[str, set[bytes]] = {}
        # Where conditions go by versions: the tag and the version of objects that may be written over.
        self._versions: dict[str, tuple[str, str]] = {}
        import obstore
        from obstore import exceptions

        self.url, self._api, self._errors = url.rstrip("/"), obstore, exceptions
        self._server = server_of(url)

    def put(self, name: str, content: bytes, *, over: str | None) -> str:
        """Write an object that nobody has written yet, or `over` the one with that tag. Returns its tag.

        Raises Conflict where another stands there. One with the same content is this one, whose answer was lost; one
        with what was to be written `over` that tag before, and nobody knew whether it was, is written over too.
        """
        try:
            if (tag := self._put(name, content, over)) is None:
                held = self._held(name)
                if held is not None and held[0] == content:
                    tag = held[1]
                elif held is not None and over is not None and _digest(held[0]) in self._unheard.get(name, ()):
                    tag = self._put(name, content, held[1])
        except OSError:
            if over is not None:
                self._unheard.setdefault(name, set()).add(_digest(content))
            raise
        self._unheard.pop(name, None)
        if tag is None:
            raise Conflict(errno.EEXIST, "another run has written it", f"{self.url}/{name}")
        return tag

    def _put(self, name: str, content: bytes, over: str | None) -> str | None:
        """Its tag; None where another stands there."""
        if not self.conditional:
            return self.write(name, content) if self._tag_of(name) == over else None
        if (mode := self._mode(name, over)) is None:
            return None
        with self._answered(name):
            try:
                meta = self._api.put(self._store, name, content, mode=mode, use_multipart=False)
                return self._written(name, meta)
            except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
                self._versions.pop(name, None)
                return None

    def write(self, name: str, content: bytes) -> str:
        """Write an object that nobody else writes. Returns its tag."""
        with self._answered(name):
            return self._written(name, self._api.put(self._store, name, content, mode="overwrite", use_multipart=False))

    def write_file(self, name: str, path: Path) -> None:
        """Write an object that nobody else writes from a file of any size, some megabytes at a time."""
        with self._answered(name):
            self._written(name, self._api.put(self._store, name, path, mode="overwrite", chunk_size=CHUNK_BYTES))

    def _mode(self, name: str, over: str | None) -> Any:
        """The condition of a write, as the client takes it; None for one that cannot hold any more."""
        if over is None:
            return "create"
        if not self._words.by_version:
            return {"e_tag": over}
        known = self._versions.get(name)
        if known is None or known[0] != over:
            known = self._version_of(name)
        # Whoever writes between the look and the write makes another version.
        return {"e_tag": over, "version": known[1]} if known is not None and known[0] == over else None

    def _version_of(self, name: str) -> tuple[str, str] | None:
        """Tag and version of an object; None where there is none."""
        with suppress(FileNotFoundError), self._answered(name, may_be_absent=True):
            meta = self._api.head(self._store, name)
            return _tag(meta), str(meta["version"])
        return None

    def _written(self, name: str, meta: Any) -> str:
        self.keeps_versions = self.keeps_versions or (
            not self._words.by_version and meta.get("version") not in (None, "null")
        )
        return self._noted(name, meta)

    def _noted(self, name: str, meta: Any) -> str:
        """The tag of an object, whose version is remembered where a condition goes by it."""
        tag = _tag(meta)
        if self._words.by_version and meta.get("version") is not None:
            if len(self._versions) >= VERSIONS_HELD:
                self._versions.clear()
            self._versions[name] = tag, str(meta["version"])
        return tag

    def _tag_of(self, name: str) -> str | None:
        """The tag of an object; None where there is none."""
        with suppress(FileNotFoundError), self._answered(name, may_be_absent=True):
            return _tag(self._api.head(self._store, name))
        return None

    def _held(self, name: str) -> tuple[bytes, str] | None:
        """Content and tag of the object that stands there; None where there is none."""
        try:
            return self.get_tagged(name)
        except FileNotFoundError:
            return None

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
            return bytes(found.bytes()), self._noted(name, found.meta)

    def chunks(self, name: str, *, may_be_absent: bool = False) -> Iterator[bytes]:
        """The content of an object, some megabytes at a time. Raises FileNotFoundError for one that `may_be_absent`."""
        with self._answered(name, may_be_absent=may_be_absent):
            for chunk in self._api.get(self._store, name).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    def list(self, prefix: str | None = None) -> Iterator[Object]:
        """The objects, or those below a folder of them."""
        with self._answered(""):
            for batch in self._api.list(self._store, prefix=prefix):
                for meta in batch:
                    yield Object(str(meta["path"]), int(meta["size"]), _tag(meta))

    def delete(self, names: Sequence[str]) -> None:
        """One that is not there is deleted."""
        try:
            with self._answered("", may_be_absent=True):
                if names:
                    self._api.delete(self._store, list(names))
        except FileNotFoundError:
            # Stores that delete one at a time end at the first that is missing.
            for name in names:
                with suppress(FileNotFoundError), self._answered(name, may_be_absent=True):
                    self._api.delete(self._store, name)

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
            told = (
                meaning(str(error), rights=self._words.rights, key=self._words.key) or _CUT.split(first_line(error))[0]
            )
            raise OSError(errno.EIO, f"{self._server} refuses it: {told}", where) from None


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _tag(meta: Any) -> str:
    # Azure's listing tells it without quotation marks, and only there.
    return '"' + str(meta["e_tag"]).strip('"') + '"'
