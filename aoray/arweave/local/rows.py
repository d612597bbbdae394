"""The rows of the embedded Arweave, blocks and items, as plain values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

from aoray.arweave.local.intake import Refused
from aoray.errors import MalformedInput
from aoray.protocol.ids import b64url_decode, b64url_encode

BLOCK = "SELECT b.height, b.id, b.timestamp, p.id FROM block b LEFT JOIN block p ON p.height = b.height - 1"
ITEM = "SELECT seq, id, height, parent, start, header_size, size FROM item"


UPLOADS = (
    "SELECT id FROM item WHERE parent IS NULL AND seq >= (SELECT first FROM block WHERE height = ?1)"
    " AND seq < ifnull((SELECT first FROM block WHERE height = ?1 + 1), 1 << 62)"
)


class Block(NamedTuple):
    """A block. `previous` is '' for the first block; `timestamp` is in seconds."""

    height: int
    id: str
    timestamp: int
    previous: str


class Stored(NamedTuple):
    """The position of a stored item. `start` and the sizes are bytes in the file of uploads."""

    seq: int
    id: str
    height: int
    bundled_in: str | None
    start: int
    header_size: int
    size: int
    held: bytes = b""
    """The raw item, if it is acknowledged in a log and not in the store yet; then it is in no block."""

    @property
    def data_size(self) -> int:
        """The bytes of the item's data."""
        return self.size - self.header_size


class UploadReceipt(NamedTuple):
    """What became of an upload: its id, its block, and the nested items that were refused."""

    id: str
    height: int
    refused: Sequence[Refused]


def stored_of(row: tuple[Any, ...]) -> Stored:
    """Return the value of a row that ITEM selects."""
    seq, own, height, parent, *place = row
    return Stored(seq, b64url_encode(own), height, parent and b64url_encode(parent), *place)


def block_of(row: tuple[Any, ...]) -> Block:
    """Return the value of a row that BLOCK selects."""
    height, own, timestamp, previous = row
    return Block(height, b64url_encode(own), timestamp, b64url_encode(previous or b""))


def bytes_of(text: str) -> bytes:
    """Return an id as it is in the database; a text that is not an id gives one that no item has."""
    try:
        return b64url_decode(text)
    except MalformedInput:
        return b""


class Which(TypedDict, total=False):
    """A selection of blocks: both heights are inclusive, and the page starts after the height `after`."""

    ids: Sequence[str] | None
    height_min: int
    height_max: int
    after: int | None
    first: int
    ascending: bool


def blocks_query(
    ids: Sequence[str] | None = None,
    height_min: int = 0,
    height_max: int = 1 << 62,
    after: int | None = None,
    first: int = 1,
    ascending: bool = False,
) -> tuple[str, list[int | bytes]]:
    """Return the query for blocks, by height, and its parameters."""
    sql = f"{BLOCK} WHERE b.height BETWEEN ? AND ?"
    parameters: list[int | bytes] = [height_min, height_max]
    if ids is not None:
        sql += f" AND b.id IN ({','.join('?' * len(ids))})"
        parameters += [bytes_of(block_id) for block_id in ids]
    if after is not None:
        sql += f" AND b.height {'>' if ascending else '<'} ?"
        parameters.append(after)
    sql += f" ORDER BY b.height {'ASC' if ascending else 'DESC'} LIMIT ?"
    return sql, [*parameters, first]
