"""The rows of the embedded Arweave: blocks and items, from its tables to values and back. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from aoray.arweave.intake import Refused
from aoray.errors import MalformedInput
from aoray.protocol.ids import b64url_decode, b64url_encode

BLOCK = "SELECT b.height, b.id, b.timestamp, p.id FROM block b LEFT JOIN block p ON p.height = b.height - 1"
ITEM = "SELECT seq, id, height, parent, start, header_size, size FROM item"


class Block(NamedTuple):
    """A block; `previous` is "" for the first, `timestamp` is in seconds."""

    height: int
    id: str
    timestamp: int
    previous: str


class Stored(NamedTuple):
    """Where an item is. `start` and the sizes are bytes in the file of uploads."""

    seq: int
    id: str
    height: int
    bundled_in: str | None
    start: int
    header_size: int
    size: int
    held: bytes = b""
    """The item itself, if it is in a log, acknowledged, and not here yet; then it is in no block."""

    @property
    def data_size(self) -> int:
        return self.size - self.header_size


class Receipt(NamedTuple):
    """What became of an upload."""

    id: str
    height: int
    refused: Sequence[Refused]


def stored_of(row: tuple[Any, ...]) -> Stored:
    seq, own, height, parent, *place = row
    return Stored(seq, b64url_encode(own), height, parent and b64url_encode(parent), *place)


def block_of(row: tuple[Any, ...]) -> Block:
    height, own, timestamp, previous = row
    return Block(height, b64url_encode(own), timestamp, b64url_encode(previous or b""))


def bytes_of(text: str) -> bytes:
    """An id as the database has it; what is no id becomes one that nothing has."""
    try:
        return b64url_decode(text)
    except MalformedInput:
        return b""
