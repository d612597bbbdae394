"""Arweave's own transactions on the embedded Arweave: taken, paid, given their data in chunks, and proven.

    take      a signed transaction: it is in a block, and paid, at once; its data comes with it, or in chunks
    seed      a chunk with its proof; the last one completes the data, and a bundle in it is unfolded then
    chunk_at  a chunk of anything that was uploaded, with its proof, by its offset in the weave

The weave is the store's file of uploads: byte n of it has the offset n + 1, so offsets rise, and a bundle
that came as a data item has one, too. In that file a transaction is its JSON followed by its data.

Invariants: a transaction's signature, id, data root, funds and anchor are checked before it is kept; its item
and its payment are one database transaction, so it is paid once, however often it comes. A chunk is kept only
if its data path proves it for a transaction that is here and waits for it, cut as arweave-js cuts.

On failure: `ClientError` in words. Chunks are bounded as `pieces` says.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from aoray import limits
from aoray.arweave import index, wallets
from aoray.arweave.intake import Intake, alone, is_bundle, opened
from aoray.arweave.merkle import CHUNK_BYTES_MAX, Chunk, chunked, proven, spans
from aoray.arweave.pieces import Pieces
from aoray.arweave.rows import ITEM, Stored, stored_of
from aoray.arweave.store import ArweaveStore
from aoray.arweave.transactions import Transaction, from_json, raw_of, verify
from aoray.errors import ClientError, MalformedInput, NotFound, TooLarge
from aoray.protocol.ids import b64url_decode, b64url_encode

TREES_MAX = 8  # of uploads whose chunks were asked for last
SAME_DATA_MAX = 4  # transactions that wait for the same data, and get it together


class Layer1:
    """Over a store. All methods block, and may be called from any thread."""

    def __init__(
        self, store: ArweaveStore, pieces: Pieces, balances: Mapping[str, int] | None = None
    ) -> None:
        """`balances` of a genesis file, if there is one; `ClientError` if the network began with others."""
        self._store = store
        self._pieces = pieces
        with store.writing() as db:
            self._gift = 0 if wallets.begin(db, balances) else wallets.GIFT
        self._tree = lru_cache(maxsize=TREES_MAX)(self._tree_of)

    # Transactions

    def take(self, found: Mapping[str, Any]) -> bool:
        """Keep a transaction as `POST /tx` has it; False if it was here already."""
        transaction, data = read(found)
        verify(transaction)
        if found.get("id", transaction.id) != transaction.id:
            raise MalformedInput("The transaction's id is not that of its signature.", field="id")
        intake = _intake(transaction, data)
        whole = len(intake.placed) == 1  # what is in a bundle comes after it, in slices
        first = intake if whole else _intake(transaction, b"")
        new = self._store.commit(
            lambda db: self._checked(db, transaction, first, seeded=whole and bool(data))
        )
        if data and not self._is_seeded(transaction.id):
            self._complete(transaction.id, intake)
        return new is not None

    def _checked(
        self, db: sqlite3.Connection, transaction: Transaction, intake: Intake, *, seeded: bool
    ) -> list[Intake] | None:
        """A transaction that is paid for; None for one that is here."""
        if index.height_of(db, b64url_decode(transaction.id)) is not None:
            return None
        self._check_anchor(db, transaction)
        wallets.charge(db, transaction, self._gift)
        if transaction.data_size:
            row = (transaction.id, transaction.data_root, transaction.data_size, seeded)
            db.execute("INSERT INTO layer1 VALUES (?, ?, ?, ?)", row)
        return [intake]

    def _check_anchor(self, db: sqlite3.Connection, transaction: Transaction) -> None:
        last = wallets.last_tx(db, transaction.address)
        block = db.execute("SELECT 1 FROM block WHERE id = ?", [transaction.anchor]).fetchone()
        if not block and b64url_encode(transaction.anchor) != last:
            raise ClientError(
                "the anchor (last_tx) is neither a block here nor the last transaction of the wallet",
                hint="Ask GET /tx_anchor for one, and sign again.",
                field="last_tx",
            )

    # Chunks

    def seed(self, found: Mapping[str, Any], sender: str) -> None:
        """Keep a chunk as `POST /chunk` has it; on return it is on disk."""
        root, size, start, chunk = _chunk(found)
        waiting = self._waiting(root, size)
        if not waiting:
            return  # the data is here, and the proof was right: sent again
        key = f"{b64url_encode(root)}.{size}"
        if self._pieces.add(key, sender, start, chunk, opens=True) == size:
            data = self._pieces.joined(key)
            for each in waiting:
                self._complete(each, _intake(self._transaction(each), data))
            self._pieces.drop(key)

    def _waiting(self, root: bytes, size: int) -> list[str]:
        """The transactions that wait for this data; `ClientError` if none ever had it."""
        query = "SELECT id, seeded FROM layer1 WHERE data_root = ? AND data_size = ?"
        rows = self._store.rows(query, [root, size])
        if not rows:
            raise ClientError(
                "no transaction here has this data_root and data_size", hint="Post it to /tx first."
            )
        return [each for each, seeded in rows if not seeded][:SAME_DATA_MAX]

    def _is_seeded(self, transaction_id: str) -> bool:
        return bool(self._store.rows("SELECT 1 FROM layer1 WHERE id = ? AND seeded", [transaction_id]))

    def _complete(self, transaction_id: str, intake: Intake) -> None:
        """Give a transaction its data, and what is in it."""
        done = "UPDATE layer1 SET seeded = 1 WHERE id = ?"
        self._store.fill(intake, lambda db: db.execute(done, [transaction_id]))

    def _transaction(self, transaction_id: str) -> Transaction:
        transaction = self._store.fields(self._store.get(transaction_id))[1]
        assert transaction is not None
        return transaction

    # The weave

    def offset(self, item_id: str) -> dict[str, str]:
        """Where an upload's data ends in the weave, and its size."""
        stored = self._store.mined(item_id)
        if stored.held or stored.bundled_in:
            where = f"in bundle {stored.bundled_in}" if stored.bundled_in else "not in a bundle yet"
            raise NotFound(f"it is {where}: only what was uploaded by itself has an offset", id=item_id)
        if not stored.data_size:
            raise NotFound("it has no data here", id=item_id)
        return {"offset": str(stored.start + stored.size), "size": str(stored.data_size)}

    def chunk_at(self, offset: int) -> dict[str, str]:
        """The chunk that holds the byte at this offset, and its data path."""
        stored = self._upload_at(offset - 1)
        if stored is None:
            raise NotFound("no data has that offset")
        place = offset - 1 - stored.start - stored.header_size
        chunks = self._tree(stored)
        found = next(chunk for chunk in chunks if place < chunk.end)
        return {
            "chunk": b64url_encode(self._store.data(stored, found.start, found.end)),
            "data_path": b64url_encode(found.data_path),
            "tx_path": "",
            "packing": "unpacked",
        }

    def _upload_at(self, place: int) -> Stored | None:
        """The upload whose data has its bytes at this place of the file."""
        self._store.catch_up()
        order = "WHERE parent IS NULL AND start <= ? ORDER BY start DESC LIMIT 1"
        rows = self._store.rows(f"{ITEM} {order}", [max(-1, min(place, 1 << 62))])
        found = stored_of(rows[0]) if rows else None
        within = found and found.start + found.header_size <= place < found.start + found.size
        return found if within else None

    def _tree_of(self, stored: Stored) -> list[Chunk]:
        root, chunks = chunked(self._store.data(stored))
        transaction = self._store.fields(stored)[1]
        if transaction and transaction.data_root != root:
            raise NotFound("its data root is of a tree that is not arweave-js's", id=stored.id)
        return chunks

    # Wallets, and arlocal's helpers

    def balance(self, address: str) -> int:
        """What a wallet has, in winston."""
        with self._store.reading() as db:
            return wallets.balance(db, address)

    def last_tx(self, address: str) -> str:
        """The last transaction that a wallet signed, "" if none."""
        with self._store.reading() as db:
            return wallets.last_tx(db, address)

    def mint(self, address: str, amount: int) -> int:
        """Give a wallet so much more; what it has then."""
        with self._store.writing() as db:
            return wallets.mint(db, address, amount)

    def mine(self, blocks: int) -> None:
        """Add empty blocks."""
        if not 1 <= blocks <= limits.MINE_BLOCKS_MAX:
            raise ClientError(f"{blocks} blocks", hint=f"1 to {limits.MINE_BLOCKS_MAX} at once.")
        with self._store.writing() as db:
            for _ in range(blocks):
                self._store.mine([], index.last_seq(db) + 1)


def read(found: Mapping[str, Any]) -> tuple[Transaction, bytes]:
    """A transaction, and the data that comes with it, if any does; what is wrong is said in words."""
    transaction = from_json(found)
    data = found.get("data", "")
    if not isinstance(data, str):
        raise MalformedInput("`data` of the transaction is not text.", field="data")
    data = b64url_decode(data, field="data")
    size = transaction.data_size
    if size > limits.UPLOAD_BYTES_MAX:
        most = limits.UPLOAD_BYTES_MAX
        raise TooLarge(f"A transaction has {most} bytes of data at most.", field="data_size", bytes_max=most)
    if bool(size) != bool(transaction.data_root) or (data and len(data) != size):
        raise MalformedInput("data_size, data_root and data do not agree.", field="data_size")
    if data and chunked(data)[0] != transaction.data_root:
        raise MalformedInput("The data is not that of the data_root.", field="data_root")
    if transaction.quantity and not transaction.target:
        raise MalformedInput("A quantity needs a target.", field="target")
    return transaction, data


def _intake(transaction: Transaction, data: bytes) -> Intake:
    """The transaction as the store keeps it: its JSON, then its data, unfolded if it is a bundle."""
    upload = replace(transaction.item, data=data, raw=raw_of(transaction, data))
    if not (data and is_bundle(upload)):
        return alone(upload)
    try:
        return opened(upload, ())
    except ClientError:  # its tags say that it is a bundle, and it is none: it is kept as it is
        return alone(upload)


def _chunk(found: Mapping[str, Any]) -> tuple[bytes, int, int, bytes]:
    """Data root, data size, place and bytes of a chunk that its data path proves."""
    texts = (
        {name: found.get(name) for name in ("data_root", "data_path", "chunk")}
        if isinstance(found, Mapping)
        else {}
    )
    if not texts or not all(isinstance(text, str) for text in texts.values()):
        raise MalformedInput("A chunk needs data_root, data_path and chunk, as base64url.", field="chunk")
    root, path, chunk = (b64url_decode(str(text), field=name) for name, text in texts.items())
    size, offset = (_natural(found, name) for name in ("data_size", "offset"))
    if not 0 < len(chunk) <= CHUNK_BYTES_MAX:
        raise MalformedInput(f"A chunk has 1 to {CHUNK_BYTES_MAX} bytes.", field="chunk")
    if not 0 < size <= limits.UPLOAD_BYTES_MAX or len(path) > limits.CHUNK_PATH_BYTES_MAX:
        raise TooLarge("The data_size or the data_path of the chunk is too large.", field="data_size")
    start = proven(root, size, path, chunk)
    if start is None or not start <= offset < start + len(chunk):
        raise MalformedInput(
            "invalid_proof: the data_path does not prove that chunk there.", field="data_path"
        )
    if (start, start + len(chunk)) not in set(spans(size)):
        raise MalformedInput("The data is not cut into chunks of 256 KiB as arweave-js does.", field="offset")
    return root, size, start, chunk


def _natural(found: Mapping[str, Any], name: str) -> int:
    text = str(found.get(name))
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise MalformedInput(f"`{name}` of the chunk is not a number from 0 up.", field=name)
    return int(text)
