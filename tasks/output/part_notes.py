"""Part notes: what a part's columns do not tell of its rows, in the file's own metadata.

The bound of an unknown bill, the failed attempts by kind and the attempts whose call is counted with another row stand
there for the rows that have any; the digest that binds each answer to its request (see `answer_digest`) for every row,
eight bytes each in the order of the rows, and what each row's line is known by (see `line_digest`), sixteen bytes each,
where the part is whole. Whoever writes a part again carries them over (`notes_of`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from rowmill.schemas.outcome import Outcome

DETAILS, DIGESTS, JOINED, LINES = b"rowmill.details", b"rowmill.digests", b"rowmill.joined", b"rowmill.lines"
DIGEST_BYTES, LINE_BYTES = 8, 16
NO_DIGEST = bytes(DIGEST_BYTES)
NO_DETAILS: tuple[int, dict[str, int]] = (0, {})
# row_index, bound of what is unknown in 10⁻¹² USD, failed attempts by kind
Detail = tuple[int, int, dict[str, int]]


Positions = npt.NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NotedRows:
    """The notes of some rows of a part: the digest of each; the rest by position among them, of those that have it."""

    digests: npt.NDArray[np.uint64]
    details: Mapping[int, tuple[int, dict[str, int]]]
    joined: Mapping[int, int]

    def take(self, at: Positions) -> NotedRows:
        """The notes of the rows at these positions, in this order."""
        return NotedRows(self.digests[at], _taken(self.details, at), _taken(self.joined, at))

    @staticmethod
    def of(outcomes: Sequence[Outcome]) -> NotedRows:
        """The notes of rows as they were settled."""
        digests = b"".join(
            NO_DIGEST if one.answer_digest is None else bytes.fromhex(one.answer_digest) for one in outcomes
        )
        return NotedRows(
            np.frombuffer(digests, "<u8"),
            {
                at: (one.spent.unknown_usd, one.failures)
                for at, one in enumerate(outcomes)
                if one.spent.unknown_usd or one.failures
            },
            {at: one.spent.joined for at, one in enumerate(outcomes) if one.spent.joined},
        )

    @staticmethod
    def together(many: Iterable[NotedRows]) -> NotedRows:
        """The notes of rows, one group after the other."""
        digests: list[npt.NDArray[np.uint64]] = []
        details: dict[int, tuple[int, dict[str, int]]] = {}
        joined: dict[int, int] = {}
        start = 0
        for one in many:
            digests.append(one.digests)
            details |= {start + at: told for at, told in one.details.items()}
            joined |= {start + at: told for at, told in one.joined.items()}
            start += len(one.digests)
        return NotedRows(np.concatenate(digests), details, joined)


def _taken(told: Mapping[int, T], at: Positions) -> dict[int, T]:
    if not told:
        return {}
    return {new: told[old] for new, old in enumerate(at.tolist()) if old in told}


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

    def add(self, noted: NotedRows, rows: Sequence[int]) -> None:
        """The notes of rows at these positions of the input, which come in their order."""
        self._digests.append(noted.digests.tobytes())
        self._details += [(rows[at], *told) for at, told in sorted(noted.details.items())]
        self._joined += [(rows[at], told) for at, told in sorted(noted.joined.items())]

    def metadata(self, lines: bytes | None = None) -> dict[bytes, bytes]:
        """What the file's metadata tells. `lines` is what each of its rows is known by."""
        told = {DETAILS: msgspec.json.encode(self._details), DIGESTS: base64.b64encode(b"".join(self._digests))}
        if lines is not None:
            told[LINES] = base64.b64encode(lines)
        return told | ({JOINED: msgspec.json.encode(self._joined)} if self._joined else {})


def notes_of(metadata: Mapping[bytes, bytes] | None) -> dict[bytes, bytes]:
    """The notes in a part's metadata, for a part that is written again with the same rows in the same order."""
    return {key: value for key, value in (metadata or {}).items() if key in (DETAILS, DIGESTS, JOINED, LINES)}


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


def lines_in(metadata: Mapping[bytes, bytes] | None, rows: int) -> npt.NDArray[np.uint64] | None:
    """What each row of a part is known by, as two numbers; None where the part does not tell."""
    held = line_bytes_in(metadata, rows)
    return np.frombuffer(held, "<u8").reshape(rows, 2) if held else None


def line_bytes_in(metadata: Mapping[bytes, bytes] | None, rows: int) -> bytes | None:
    """What each row of a part is known by, one after the other; None where the part does not tell."""
    held = base64.b64decode((metadata or {}).get(LINES, b""))
    return held if len(held) == rows * LINE_BYTES else None


def noted_rows(metadata: Mapping[bytes, bytes] | None, first_row: int, rows: int) -> NotedRows:
    """The notes of a part that holds every row from `first_row` on."""
    told = metadata or {}
    held = base64.b64decode(told.get(DIGESTS, b""))
    if len(held) != rows * DIGEST_BYTES:
        held = NO_DIGEST * rows
    return NotedRows(
        np.frombuffer(held, "<u8"),
        {row - first_row: detail for row, detail in details_in(told).items()},
        {row - first_row: joined for row, joined in joined_in(told).items()},
    )
