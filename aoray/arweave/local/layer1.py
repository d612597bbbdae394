"""Layer-1 transactions on the embedded Arweave: accepting, paying, receiving data in chunks, and proving
chunks.

    take      a signed transaction: it is paid and in a block at once; its data comes with it, or in chunks
    seed      a chunk with its proof; the last chunk completes the data, and a bundle in it is unfolded then
    chunk_at  a chunk of anything that was uploaded, with its proof, by its offset in the weave

The weave is the store's file of uploads: byte n of the file has offset n + 1, so offsets rise, and a bundle
that was posted as a data item has one too. In this file a transaction is its JSON followed by its data.

Invariants: the signature, id, data root, funds and anchor of a transaction are checked before it is stored;
its item and its payment are one database transaction, so it is paid once, however often it is posted. A chunk
is stored only if its data path proves it for a transaction that is here and waits for it, and if it is
divided as arweave-js divides data.

On failure: `ClientError`. Chunks are bounded as in `pieces`.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from aoray import limits
from aoray.arweave.local import index, wallets
from aoray.arweave.local.intake import Intake, alone, is_bundle, opened
from aoray.arweave.local.pieces import Pieces
from aoray.arweave.local.rows import ITEM, Stored, stored_of
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import ClientError, MalformedInput, NotFound, RateLimited, TooLarge
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.merkle import CHUNK_BYTES_MAX, Chunk, chunked, proven, spans
from aoray.protocol.transactions import Transaction, from_json, raw_of, verify
from aoray.util.rates import Rates


class Layer1:
    """The layer-1 transactions, chunks and wallets of a store. All methods block, and may be called from any
    thread."""

    def __init__(
        self, store: ArweaveStore, pieces: Pieces, balances: Mapping[str, int] | None = None
    ) -> None:
        """`balances` are those of a genesis file, if there is one. Raises `ClientError` if the network
        started with others."""
        self._store = store
        self._pieces = pieces
        self._blocks = Rates(limits.MINE_BLOCKS_PER_SECOND, limits.MINE_BLOCKS_BURST)  # shared by all clients
        with store.writing() as db:
            self._gift = 0 if wallets.begin(db, balances) else wallets.GIFT
        self._tree = lru_cache(maxsize=limits.UPLOAD_TREES_MAX)(self._tree_of)

    # Transactions

    def take(self, found: Mapping[str, Any]) -> bool:
        """Store a transaction from `POST /tx`; return False if it was here already."""
        transaction, data = read(found)
        verify(transaction)
        if found.get("id", transaction.id) != transaction.id:
            raise MalformedInput("the id of the transaction is not the hash of its signature", field="id")
        intake = _intake(transaction, data)
        whole = len(intake.placed) == 1  # the items of a bundle are written after it, in slices
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
        """Charge the transaction, and return its intake; None if it is here already."""
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
        """Store a chunk from `POST /chunk`; on return it is on disk. `sender` is the client's address."""
        root, size, start, chunk = _chunk(found)
        waiting = self._waiting(root, size)
        if not waiting:
            return  # the data is here already
        key = f"{b64url_encode(root)}.{size}"
        if self._pieces.add(key, sender, start, chunk, opens=True) == size:
            with self._pieces.completing(key) as mine:
                # The last chunk may arrive several times at once, or after another call completed the data.
                if mine and (waiting := self._waiting(root, size)):
                    self._seeded(key, waiting)

    def _seeded(self, key: str, waiting: Sequence[str]) -> None:
        """Give these transactions their data, all chunks of which are here."""
        data = self._pieces.joined(key)
        for each in waiting:
            self._complete(each, _intake(self._transaction(each), data))
        self._pieces.drop(key)

    def _waiting(self, root: bytes, size: int) -> list[str]:
        """Return the transactions that wait for this data. Raises `ClientError` if there is no transaction
        with it."""
        query = "SELECT id, seeded FROM layer1 WHERE data_root = ? AND data_size = ?"
        rows = self._store.rows(query, [root, size])
        if not rows:
            raise ClientError(
                "no transaction here has this data_root and data_size", hint="Post it to /tx first."
            )
        return [each for each, seeded in rows if not seeded][: limits.SAME_DATA_MAX]

    def _is_seeded(self, transaction_id: str) -> bool:
        return bool(self._store.rows("SELECT 1 FROM layer1 WHERE id = ? AND seeded", [transaction_id]))

    def _complete(self, transaction_id: str, intake: Intake) -> None:
        """Give a transaction its data and the items in the data."""
        done = "UPDATE layer1 SET seeded = 1 WHERE id = ?"
        self._store.fill(intake, lambda db: db.execute(done, [transaction_id]))

    def _transaction(self, transaction_id: str) -> Transaction:
        transaction = self._store.fields(self._store.get(transaction_id))[1]
        assert transaction is not None
        return transaction

    # The weave

    def offset(self, item_id: str) -> dict[str, str]:
        """Return where the data of an upload ends in the weave, and its size. Raises `NotFound`."""
        stored = self._store.mined(item_id)
        if stored.held or stored.bundled_in:
            where = f"in bundle {stored.bundled_in}" if stored.bundled_in else "not in a bundle yet"
            raise NotFound(f"it is {where}: only what was uploaded by itself has an offset", id=item_id)
        if not stored.data_size:
            raise NotFound("it has no data here", id=item_id)
        return {"offset": str(stored.start + stored.size), "size": str(stored.data_size)}

    def chunk_at(self, offset: int) -> dict[str, str]:
        """Return the chunk with the byte at this offset, and its data path. Raises `NotFound`."""
        stored = self._upload_at(offset - 1)
        if stored is None:
            raise NotFound("no data at that offset")
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
        """Return the upload whose data includes this byte of the file."""
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
        """Return the balance of a wallet, in winston."""
        with self._store.reading() as db:
            return wallets.balance(db, address)

    def last_tx(self, address: str) -> str:
        """Return the id of the last transaction that a wallet signed; '' if there is none."""
        with self._store.reading() as db:
            return wallets.last_tx(db, address)

    def mint(self, address: str, amount: int) -> int:
        """Add winston to a wallet, and return its balance."""
        with self._store.writing() as db:
            return wallets.mint(db, address, amount)

    def mine(self, blocks: int, now_s: float) -> None:
        """Add empty blocks. Raises `RateLimited` if too many were added recently, by whomever."""
        if not 1 <= blocks <= limits.MINE_BLOCKS_MAX:
            raise ClientError(
                f"{blocks} blocks can't be mined at once", hint=f"Mine 1 to {limits.MINE_BLOCKS_MAX} at once."
            )
        with self._store.writing() as db:
            if wait_s := self._blocks.take("", now_s, blocks):
                most = f"over {limits.MINE_BLOCKS_BURST} blocks were mined recently"
                raise RateLimited(
                    most, hint="Uploads are in a block without mining.", retry_after_s=math.ceil(wait_s)
                )
            for _ in range(blocks):
                self._store.mine([], index.last_seq(db) + 1)


def read(found: Mapping[str, Any]) -> tuple[Transaction, bytes]:
    """Read a transaction, and the data that comes with it, if any. Raises `MalformedInput` or `TooLarge`."""
    transaction = from_json(found)
    data = found.get("data", "")
    if not isinstance(data, str):
        raise MalformedInput("'data' of the transaction is not text", field="data")
    data = b64url_decode(data, field="data")
    size = transaction.data_size
    if size > limits.UPLOAD_BYTES_MAX:
        most = limits.UPLOAD_BYTES_MAX
        raise TooLarge(f"a transaction has at most {most} bytes of data", field="data_size", bytes_max=most)
    if bool(size) != bool(transaction.data_root) or (data and len(data) != size):
        raise MalformedInput(
            "data_size, data_root and data of the transaction do not agree", field="data_size"
        )
    if data and chunked(data)[0] != transaction.data_root:
        raise MalformedInput("the data is not that of the data_root", field="data_root")
    if transaction.quantity and not transaction.target:
        raise MalformedInput("a transaction with a quantity needs a target", field="target")
    return transaction, data


def _intake(transaction: Transaction, data: bytes) -> Intake:
    """Return the transaction as the store keeps it: its JSON, then its data, unfolded if this is a bundle."""
    upload = replace(transaction.item, data=data, raw=raw_of(transaction, data))
    if not (data and is_bundle(upload)):
        return alone(upload)
    try:
        return opened(upload, ())
    except ClientError:  # its tags claim wrongly that it is a bundle
        return alone(upload)


def _chunk(found: Mapping[str, Any]) -> tuple[bytes, int, int, bytes]:
    """Return data root, data size, offset and bytes of a chunk that its data path proves. Raises
    `MalformedInput` or `TooLarge`."""
    texts = (
        {name: found.get(name) for name in ("data_root", "data_path", "chunk")}
        if isinstance(found, Mapping)
        else {}
    )
    if not texts or not all(isinstance(text, str) for text in texts.values()):
        raise MalformedInput("a chunk needs data_root, data_path and chunk, as base64url", field="chunk")
    root, path, chunk = (b64url_decode(str(text), field=name) for name, text in texts.items())
    size, offset = (_natural(found, name) for name in ("data_size", "offset"))
    if not 0 < len(chunk) <= CHUNK_BYTES_MAX:
        raise MalformedInput(f"a chunk has 1 to {CHUNK_BYTES_MAX} bytes", field="chunk")
    if not 0 < size <= limits.UPLOAD_BYTES_MAX or len(path) > limits.CHUNK_PATH_BYTES_MAX:
        raise TooLarge("the data_size or the data_path of the chunk is too large", field="data_size")
    start = proven(root, size, path, chunk)
    if start is None or not start <= offset < start + len(chunk):
        raise MalformedInput(
            "invalid_proof: the data_path does not prove that chunk at that offset", field="data_path"
        )
    if (start, start + len(chunk)) not in set(spans(size)):
        raise MalformedInput(
            "the data is not cut into chunks of 256 KiB, as arweave-js does it", field="offset"
        )
    return root, size, start, chunk


def _natural(found: Mapping[str, Any], name: str) -> int:
    text = str(found.get(name))
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise MalformedInput(f"{name!r} of the chunk is not a number from 0 up", field=name)
    return int(text)
