"""The store of the embedded Arweave: every item ever uploaded, on disk.

Where in a message's journey: at its end. There are two files: `arweave.sqlite` (blocks, where the bytes of
each item are, and the index of terms) and beside it `arweave.bytes` (the uploads one after another; bytes are
only appended). An item's fields are parsed from its bytes on request, so each byte is stored once, and a
nested item is a range of its bundle.

The flusher's bundles may be indexed later (`index`); every answer here is as if this had happened at once.

Invariants: `put` returns after the bytes and then the rows are on disk (fsync, WAL with synchronous=FULL). An
item is stored once, however often it is posted. Each batch of uploads is a block, so whatever is stored is
confirmed, and `seq` grows with height. Uploads that wait for the disk are written together. Several OS
processes may have the same store open.

On failure: a crash leaves at worst bytes to which no row refers. A full or locked disk raises `Unavailable`,
and nothing of the batch is stored.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha384
from pathlib import Path
from typing import Any, Self, Unpack

from aoray.arweave.local import index, wallets
from aoray.arweave.local.intake import Intake, closed, is_bundle, is_long, slices, unfold
from aoray.arweave.local.rows import (
    BLOCK,
    ITEM,
    UPLOADS,
    Block,
    Stored,
    UploadReceipt,
    Which,
    block_of,
    blocks_query,
    bytes_of,
    stored_of,
)
from aoray.arweave.local.search import Filter, SearchPage, SearchReaders, count, find, new_budget, tested
from aoray.errors import NotFound, Unavailable
from aoray.limits import WAITING_BYTES_MAX
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signed import ANS104, parse
from aoray.protocol.transactions import Transaction
from aoray.storage.durable_files import sync_directory
from aoray.storage.sql import as_unavailable, sqlite_transaction
from aoray.util.turns import Budget


class ArweaveStore:
    """The items and blocks of the embedded Arweave, on disk. All methods may be called from any thread."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        trusted: Container[str] = (),
        later: Callable[[], None] | None = None,
        recent: Callable[[str], bytes | None] = lambda _: None,
    ) -> None:
        """`clock` returns Unix time in seconds. Items in bundles signed by `trusted` are not verified.

        With `later`, the items of those bundles are indexed later, and `later` is called when some wait.
        `recent` returns an item that was acknowledged elsewhere and will arrive.
        """
        self.path = path
        self._clock = clock
        self._trusted = trusted
        self._later = later
        self._recent = recent
        path.parent.mkdir(parents=True, exist_ok=True)
        self._bytes = os.open(path.with_suffix(".bytes"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._set_up()
        self._writing = threading.Lock()
        self._queue: deque[tuple[Intake, Future[UploadReceipt]]] = deque()
        self._readers = SearchReaders(path)

    def _set_up(self) -> None:
        """Make the tables and the first block, if the store is new."""
        fcntl.flock(self._bytes, fcntl.LOCK_EX)  # SQLite does not wait when the journal mode changes
        try:
            index.set_up(self._writer)
            self._writer.executescript(wallets.SCHEMA)
            if not self._writer.execute("SELECT 1 FROM block").fetchone():
                self.mine([], first=1)
            sync_directory(self.path.parent)
        finally:
            fcntl.flock(self._bytes, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files. No other call may be in progress."""
        self._writer.close()
        self._readers.close()
        os.close(self._bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing

    def put(self, item: DataItem) -> UploadReceipt:
        """Verify an item, unfold it if it is a bundle, and store it; on return it is on disk. Raises
        `ClientError` or `Unavailable`."""
        if self._later is None or item.address not in self._trusted or not is_bundle(item):
            intake = unfold(item, self._trusted)
            return self._put_long(intake) if is_long(intake) else self.put_intake(intake)
        receipt = self.put_intake(closed(item))
        if self._waiting()[1] > WAITING_BYTES_MAX:
            self.catch_up()
        self._later()
        return receipt

    def _put_long(self, intake: Intake) -> UploadReceipt:
        """Store a large bundle in slices, each in a block of its own; other uploads are written between them.

        The bundle's own row is written last, so if this is interrupted, the bundle may be posted again.
        """
        top, start = intake.placed[0], -1
        with self.reading() as connection:
            height = index.height_of(connection, top.id)
        if height is None:
            for part in (*slices(intake.placed[1:]), [top]):
                with self.writing() as db:
                    start = start if start >= 0 else self._append([intake.raw])[0]
                    height = self.mine([item.id for item in part])
                    index.write(db, Intake(b"", part, []), start, height)
        assert height is not None
        return UploadReceipt(b64url_encode(top.id), height, intake.refused)

    def put_intake(self, intake: Intake) -> UploadReceipt:
        """Store an upload. The caller that gets the lock writes all waiting uploads, as one block."""
        future: Future[UploadReceipt] = Future()
        self._queue.append((intake, future))
        with self._writing:
            self._write_queued()
        return future.result()

    def _write_queued(self) -> None:
        if batch := [self._queue.popleft() for _ in range(len(self._queue))]:
            self._write(batch)

    def _write(self, batch: Sequence[tuple[Intake, Future[UploadReceipt]]]) -> None:
        try:
            receipts = self._transact([intake for intake, _ in batch])
        except (sqlite3.Error, OSError) as error:
            unavailable = Unavailable(f"the Arweave store cannot write: {error}", hint="Is the disk full?")
            for _, future in batch:
                future.set_exception(unavailable)
        else:
            for (_, future), receipt in zip(batch, receipts, strict=True):
                future.set_result(receipt)
        finally:  # after any other error, nobody in the batch waits forever
            for _, future in batch:
                if not future.done():
                    future.set_exception(Unavailable("the upload failed along with another"))

    def _transact(self, intakes: Sequence[Intake]) -> list[UploadReceipt]:
        with sqlite_transaction(self._writer):
            tops, height = [intake.placed[0].id for intake in intakes], 0
            heights = {top: index.height_of(self._writer, top) for top in tops}
            fresh = {top: each for top, each in zip(tops, intakes, strict=True) if heights[top] is None}
            if fresh:
                height = self.mine(fresh)
                starts = self._append(intake.raw for intake in fresh.values())
                for intake, start in zip(fresh.values(), starts, strict=True):
                    self._keep(intake, start, height)
        return [
            UploadReceipt(b64url_encode(top), heights[top] or height, intake.refused)
            for top, intake in zip(tops, intakes, strict=True)
        ]

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield the database in a transaction, after queued uploads are written and bundles indexed."""
        with as_unavailable("the Arweave store cannot write", (sqlite3.Error, OSError)), self._writing:
            self._write_queued()
            with sqlite_transaction(self._writer):
                index.open_all(self._writer, self._bytes)
                yield self._writer

    def commit(self, work: Callable[[sqlite3.Connection], Sequence[Intake] | None]) -> int | None:
        """Mine a block with the uploads that `work` returns, within its transaction, and return the block's
        height. If `work` returns None, there is no block."""
        with self.writing() as db:
            if (intakes := work(db)) is None:
                return None
            height = self.mine([intake.placed[0].id for intake in intakes], index.last_seq(db) + 1)
            starts = self._append(intake.raw for intake in intakes)
            for intake, start in zip(intakes, starts, strict=True):
                index.write(db, intake, start, height)
        return height

    def fill(self, intake: Intake, settle: Callable[[sqlite3.Connection], object]) -> None:
        """Store the data of a transaction that is here already, and first the items in the data, in slices.

        `settle` writes in the last of these transactions: if this is interrupted, the data has not arrived.
        """
        top, start = intake.placed[0], -1
        for part in (*slices(intake.placed[1:]), []):
            with self.writing() as db:
                start = start if start >= 0 else self._append([intake.raw])[0]
                height = self.mine([item.id for item in part or [top]], index.last_seq(db) + 1)
                index.write(db, Intake(b"", part, []), start, height)
                if not part:
                    index.move(db, top, start)
                    settle(db)

    def _keep(self, intake: Intake, start: int, height: int) -> None:
        """Write the rows of an upload, after those of waiting bundles; a closed bundle waits too."""
        if intake.closed:
            index.wait(self._writer, intake, start, height)
        else:
            index.open_all(self._writer, self._bytes)
            index.write(self._writer, intake, start, height)

    def catch_up(self) -> None:
        """Index all bundles that waited when this call started, but not those that arrive meanwhile."""
        last, _ = self._waiting()
        if last < 0:
            return
        found = True
        try:
            while found:
                with self._writing:
                    self._write_queued()
                    found = index.open_oldest(self._writer, self._bytes, last)
        except sqlite3.Error as error:
            raise Unavailable(f"the Arweave store cannot index: {error}", hint="Is the disk full?") from error

    def _waiting(self) -> tuple[int, int]:
        with self.reading() as connection:
            return index.waiting(connection)

    def mine(self, items: Iterable[bytes], first: int = index.NOT_YET) -> int:
        """Add a block within a transaction, and return its height."""
        tip = "SELECT height, id FROM block ORDER BY height DESC LIMIT 1"
        height, previous = self._writer.execute(tip).fetchone() or (0, b"")
        block = sha384(b"".join([previous, *items])).digest()
        sql = "INSERT INTO block SELECT ?, ?, max(?, ifnull(max(timestamp), 0)), ? FROM block"
        self._writer.execute(sql, [height + 1, block, int(self._clock()), first])
        return int(height + 1)

    def _append(self, uploads: Iterable[bytes]) -> list[int]:
        """Append uploads to the file of bytes, durably; return where each starts."""
        start = os.lseek(self._bytes, 0, os.SEEK_END)
        starts = []
        for raw in uploads:
            starts.append(start)
            start += len(raw)
            rest = memoryview(raw)
            while rest:
                rest = rest[os.write(self._bytes, rest) :]
        os.fdatasync(self._bytes)
        return starts

    # Reading

    def get(self, item_id: str) -> Stored:
        """Return where an item is stored, or the item itself if only a log has it. Raises `NotFound`."""
        found = self._row(item_id) or self._held(item_id) or self._indexed(item_id)
        if found is None:
            raise NotFound("no such item on this Arweave", id=item_id)
        return found

    def mined(self, item_id: str) -> Stored:
        """Return where an item is stored, once what waits is indexed, with its block. Raises `NotFound`."""
        found = self._row(item_id) or self._indexed(item_id)
        return self.get(item_id) if found is None else found

    def _row(self, item_id: str) -> Stored | None:
        rows = self.rows(f"{ITEM} WHERE id = ?", [bytes_of(item_id)])
        return stored_of(rows[0]) if rows else None

    def _indexed(self, item_id: str) -> Stored | None:
        self.catch_up()
        return self._row(item_id)

    def _held(self, item_id: str) -> Stored | None:
        if (raw := self._recent(item_id)) is None:
            return None
        header_size = len(raw) - len(parse(raw, ANS104, bytes_max=len(raw)).data)
        return Stored(0, item_id, 0, None, 0, header_size, len(raw), raw)

    def header(self, stored: Stored) -> DataItem:
        """Return an item without its data."""
        return self.fields(stored)[0]

    def fields(self, stored: Stored) -> tuple[DataItem, Transaction | None]:
        """Return an item without its data, and the layer-1 transaction if it is one."""
        return index.fields_of(self._read(stored, 0, stored.header_size))

    def data(self, stored: Stored, start: int = 0, end: int | None = None) -> bytes:
        """Return the data of an item, or the part from `start` to `end`."""
        end = stored.data_size if end is None else min(end, stored.data_size)
        return self._read(stored, stored.header_size + start, end - start)

    def raw(self, stored: Stored, start: int = 0, end: int | None = None) -> bytes:
        """Return an item as it was uploaded, or the part from `start` to `end`."""
        end = stored.size if end is None else min(end, stored.size)
        return self._read(stored, start, end - start)

    def _read(self, stored: Stored, start: int, size: int) -> bytes:
        if stored.held:
            return stored.held[start : start + max(size, 0)]
        return index.read(self._bytes, stored.start + start, size)

    def find(self, wanted: Filter, page: SearchPage, budget: Budget | None = None) -> list[Stored]:
        """Return the items on a page of a search. Raises the error of `Budget.check`, or `Unavailable`."""
        wanted = self._prepared(wanted)
        budget = budget or new_budget()
        if not wanted.tests:
            return self._page(wanted, page, budget)
        return list(itertools.islice(self._tested(wanted, page, budget), page.first))

    def _prepared(self, wanted: Filter) -> Filter:
        """Return the filter with further terms that the index has, after indexing what waits."""
        self.catch_up()
        if wanted.by_name and self.rows("SELECT 1 FROM unnamed", []):
            raise Unavailable("the names of tags are being indexed", hint="Try again in a moment.")
        if not wanted.pairs or self.rows("SELECT 1 FROM unpaired", []):
            return wanted
        return wanted._replace(one_of=[*wanted.pairs, *wanted.one_of])

    def _page(self, wanted: Filter, page: SearchPage, budget: Budget) -> list[Stored]:
        with self.reading(budget) as connection:
            seqs = find(connection, wanted, page)
            sql = f"{ITEM} WHERE seq IN ({','.join('?' * len(seqs))})"
            found = {row[0]: stored_of(row) for row in connection.execute(sql, seqs)}
        return [found[seq] for seq in seqs]

    def _tested(self, wanted: Filter, page: SearchPage, budget: Budget) -> Iterator[Stored]:
        def page_at(page: SearchPage) -> list[Stored]:
            return self._page(wanted, page, budget)

        return tested(page_at, lambda stored: self.header(stored).tags, wanted, page, budget)

    def count(self, wanted: Filter, budget: Budget | None = None) -> int:
        """Return the number of items that match a search."""
        wanted = self._prepared(wanted)
        budget = budget or new_budget()
        if wanted.tests:
            return sum(1 for _ in self._tested(wanted, SearchPage(0), budget))
        with self.reading(budget) as connection:
            return count(connection, wanted)

    def tip(self) -> Block:
        """Return the newest block."""
        return self.blocks(first=1)[0]

    def block(self, *, height: int | None = None, block_id: str | None = None) -> Block:
        """Return one block. Raises `NotFound`."""
        if height is not None:
            found = self.blocks(height_min=height, height_max=height)
        else:
            found = self.blocks(ids=[block_id or ""])
        if not found:
            raise NotFound("no such block", block=block_id if height is None else height)
        return found[0]

    def blocks(self, **which: Unpack[Which]) -> list[Block]:
        """Return the selected blocks, by height."""
        return [block_of(row) for row in self.rows(*blocks_query(**which))]

    def blocks_at(self, heights: Iterable[int]) -> dict[int, Block]:
        """Return the blocks at these heights, by height."""
        wanted = list(set(heights))
        rows = self.rows(f"{BLOCK} WHERE b.height IN ({','.join('?' * len(wanted))})", wanted)
        return {row[0]: block_of(row) for row in rows}

    def uploads_in(self, height: int) -> list[str]:
        """Return the ids of the items that were uploaded in a block, without nested items."""
        self.catch_up()
        return [b64url_encode(own) for (own,) in self.rows(UPLOADS, [height])]

    def rows(self, sql: str, parameters: Sequence[int | bytes | str]) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        with self.reading() as connection:
            return connection.execute(sql, parameters).fetchall()

    def reading(self, budget: Budget | None = None) -> AbstractContextManager[sqlite3.Connection]:
        """Return a context with a connection for reading, bounded by `budget`."""
        return self._readers.reading(budget)
