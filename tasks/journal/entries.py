"""Entries: the lines of a journal, each with a checksum of its own.

A line is `crc32 kind json`: eight hex digits, one letter, JSON, a line feed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.attempt import Answer, Spent
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.row import NO_SHARD, Shard

VERSION = 2


class Head(msgspec.Struct, frozen=True):
    """First line of a segment: whose rows these are. `id` names the segment in the ledger, whatever file it is in."""

    version: int
    job: str
    shard: Shard
    id: str = ""


class Intent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Written before a call is sent. One without a later bill of its row may have been paid, `worst_usd` at most.

    `joined` where it is a row's part of a call for several rows that is counted with another of them.
    """

    row: int
    attempt: int
    worst_usd: int
    key: str = ""
    joined: bool = False


class Bill(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one attempt cost: every intent is followed by one. `kind` is why it failed, None where it was answered.

    `declined` is an answer that is asked again for: a run that goes on with its row asks with what was wrong.
    """

    row: int
    attempt: int
    kind: str | None
    spent: Spent
    declined: Answer | None = None


class PackIntent(msgspec.Struct, frozen=True):
    """The intent of a call for several rows: it names them, and their shares of its worst case add up to it."""

    rows: tuple[Intent, ...]


class PackBill(msgspec.Struct, frozen=True):
    """What such a call cost: the shares of its rows, which add up to its bill. In one line: all of them or none."""

    rows: tuple[Bill, ...]


class Opened(msgspec.Struct, frozen=True):
    """What a row's request had cost before it came into this segment. No attempt of this segment: billed elsewhere.

    `stands` is whether the row that paid for it has its account still, in a segment that is gone on with.
    """

    row: int
    account: Account
    stands: bool = False


class Closed(msgspec.Struct, frozen=True):
    """A line of the ledger: all that the attempts of one segment came to, when its file was about to go."""

    id: str
    spent: Spent


NO_HEAD = Head(VERSION, "", NO_SHARD)
KINDS: dict[bytes, type] = {
    b"H": Head,
    b"I": Intent,
    b"T": Bill,
    b"P": PackIntent,
    b"B": PackBill,
    b"A": Opened,
    b"V": Voted,
    b"O": Outcome,
    b"L": Closed,
}
LETTERS = {kind: letter for letter, kind in KINDS.items()}
_DECODERS: dict[bytes, msgspec.json.Decoder[Any]] = {
    letter: msgspec.json.Decoder(kind) for letter, kind in KINDS.items()
}
Entry = Head | Intent | Bill | PackIntent | PackBill | Opened | Voted | Outcome | Closed
_decode_outcomes = msgspec.json.Decoder(list[Outcome]).decode
_encode = msgspec.json.Encoder().encode


def encode_line(entry: Entry) -> bytes:
    """One journal line with its line feed."""
    body = LETTERS[type(entry)] + b" " + _encode(entry)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode_line(line: bytes) -> Entry:
    """The entry of a line without its line feed. Raises ValueError where a bit is not as it was written."""
    body = line[9:]
    # Compared as written: a flipped bit may make a digit's letter a capital, which means the same number.
    if len(line) < 11 or line[:9] != b"%08x " % zlib.crc32(body):
        raise ValueError("the checksum does not match")
    entry: Entry = _DECODERS[body[:1]].decode(body[2:])
    return entry


def decode_outcomes(lines: Sequence[bytes]) -> list[Outcome]:
    """The outcomes of many lines with their line feeds. Raises ValueError where one is not as it was written, or is no
    outcome.
    """
    for line in lines:
        body = line[9:-1]
        if line[:11] != b"%08x O " % zlib.crc32(body):
            raise ValueError("the checksum does not match")
    outcomes = _decode_outcomes(b"[" + b",".join([line[11:-1] for line in lines]) + b"]")
    if len(outcomes) != len(lines):
        raise ValueError("a line is more than an outcome")
    return outcomes


def entry_or_none(line: bytes) -> Entry | None:
    """The entry of a line with its line feed; None for one that is cut or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        return decode_line(line[:-1])
    except (ValueError, KeyError, msgspec.MsgspecError):
        return None
