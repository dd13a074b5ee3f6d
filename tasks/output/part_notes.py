"""Part notes: what a part's columns do not tell of its rows, in the file's own metadata.

The bound of an unknown bill, the failed attempts by kind and the attempts whose call is counted with another row stand
there for the rows that have any; the digest that
binds each answer to its request (see `answer_digest`) for every row, eight bytes each in the order of the rows. Whoever
writes a part again carries them over (`notes_of`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import msgspec

from rowmill.schemas.outcome import Outcome

DETAILS, DIGESTS, JOINED = b"rowmill.details", b"rowmill.digests", b"rowmill.joined"
DIGEST_BYTES = 8
NO_DIGEST = bytes(DIGEST_BYTES)
NO_DETAILS: tuple[int, dict[str, int]] = (0, {})
# row_index, bound of what is unknown in 10⁻¹² USD, failed attempts by kind
Detail = tuple[int, int, dict[str, int]]


class PartNotes:
    """The notes of a part that is being written."""

    def __init__(self) -> None:
        self._details: list[Detail] = []
        self._digests: list[bytes] = []
        self._joined: list[tuple[int, int]] = []

    def of(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """These outcomes, which come in the order of the rows, noted."""
        for outcome in outcomes:
            digest = outcome.answer_digest
            self._digests.append(NO_DIGEST if digest is None else bytes.fromhex(digest))
            if outcome.spent.unknown_usd or outcome.failures:
                self._details.append((outcome.row_index, outcome.spent.unknown_usd, outcome.failures))
            if outcome.spent.joined:
                self._joined.append((outcome.row_index, outcome.spent.joined))
        return outcomes

    def metadata(self) -> dict[bytes, bytes]:
        """What the file's metadata tells."""
        told = {DETAILS: msgspec.json.encode(self._details), DIGESTS: base64.b64encode(b"".join(self._digests))}
        return told | ({JOINED: msgspec.json.encode(self._joined)} if self._joined else {})


def notes_of(metadata: Mapping[bytes, bytes] | None) -> dict[bytes, bytes]:
    """The notes in a part's metadata, for a part that is written again with the same rows in the same order."""
    return {key: value for key, value in (metadata or {}).items() if key in (DETAILS, DIGESTS, JOINED)}


def details_in(metadata: Mapping[bytes, bytes]) -> dict[int, tuple[int, dict[str, int]]]:
    """Bound (10⁻¹² USD) and failures by row, of the rows that have any."""
    told = metadata.get(DETAILS)
    found = msgspec.json.decode(told, type=list[Detail]) if told else []
    return {row: (unknown_usd, failures) for row, unknown_usd, failures in found}


def joined_in(metadata: Mapping[bytes, bytes]) -> dict[int, int]:
    """Attempts whose call is counted with another row, by row, of the rows that have any."""
    told = metadata.get(JOINED)
    return dict(msgspec.json.decode(told, type=list[tuple[int, int]])) if told else {}


def digests_in(metadata: Mapping[bytes, bytes], rows: int) -> list[str | None]:
    """The digest of each of the part's rows in their order; None where a row has no answer, or the part no digests."""
    held = base64.b64decode(metadata.get(DIGESTS, b""))
    if len(held) != rows * DIGEST_BYTES:
        return [None] * rows
    each = (held[at : at + DIGEST_BYTES] for at in range(0, len(held), DIGEST_BYTES))
    return [None if one == NO_DIGEST else one.hex() for one in each]
