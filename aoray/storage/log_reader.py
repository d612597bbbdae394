"""The reader of a shard's log, for gateways (the scheduler's read routes), process actors (replay), and
tools.

A reader has read-only connections of its own and sees only what is committed, so only what is durable.
Several threads may use it. A log that does not exist yet reads as empty; each call tries to open it again. On
failure: `Unavailable`; the next call opens a new connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aoray import limits
from aoray.cluster.names import shard_of
from aoray.errors import Unavailable
from aoray.protocol.assignments import LogEntry
from aoray.protocol.ids import is_id
from aoray.protocol.signed import ANS104, SignedBytes
from aoray.storage.log import SCHEMA_VERSION

COLUMNS = "process_id, nonce, message_id, assignment_id, timestamp, item, assignment, envelope"


class LogPage(list[LogEntry]):
    """A page of entries. `more` says whether others follow; a page may end early because of its bytes."""

    def __init__(self, entries: Iterable[LogEntry] = (), *, more: bool = False) -> None:
        super().__init__(entries)
        self.more = more


class LogReader:
    """The reader of one shard's log in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free: list[sqlite3.Connection] = []  # not in use at the moment

    def process(self, process_id: str) -> LogEntry | None:
        """Return the first entry of a process: its spawn item and the assignment of nonce 0; None if there is
        no such process."""
        return self._one("process_id = ? AND nonce = 0", process_id)

    def entry(self, process_id: str, any_id: str) -> LogEntry | None:
        """Return the entry of a process that has this message id or assignment id; None if there is none."""
        found = self._one("message_id = ? AND process_id = ?", any_id, process_id)
        return found or self._one("assignment_id = ? AND process_id = ?", any_id, process_id)

    def nonce_of(self, process_id: str, any_id: str) -> int | None:
        """Return the nonce of the entry that `entry` would return."""
        query = "SELECT nonce FROM entries WHERE {} = ? AND process_id = ?"
        found: int | None = self._value(query.format("message_id"), any_id, process_id)
        if found is None:
            found = self._value(query.format("assignment_id"), any_id, process_id)
        return found

    def entries(
        self,
        process_id: str,
        after_nonce: int = -1,
        limit: int = limits.PAGE_ENTRIES_MAX,
        to_nonce: int = 2**62,
    ) -> LogPage:
        """Return entries in order, from the one after `after_nonce` to `to_nonce` inclusive."""
        where = "process_id = ? AND nonce > ? AND nonce <= ? ORDER BY nonce"
        return self._page(where, (process_id, after_nonce, to_nonce), limit)

    def entries_by_time(
        self, process_id: str, after: int = -1, to: int = 2**62, limit: int = limits.PAGE_ENTRIES_MAX
    ) -> LogPage:
        """Return entries in order, with timestamps (ms) from `after` (exclusive) to `to` (inclusive)."""
        first = self._nonce_after(process_id, after)
        if first is None:
            return LogPage()
        # Timestamps rise with nonces, so the page begins at that nonce and ends at the first later timestamp.
        page = self.entries(process_id, first - 1, limit)
        kept = [entry for entry in page if entry.timestamp <= to]
        return LogPage(kept, more=page.more and len(kept) == len(page))

    def _nonce_after(self, process_id: str, timestamp: int) -> int | None:
        """Return the first nonce with a later timestamp, by binary search; an index by timestamp would slow
        down each append."""
        low, high = 0, self._last_nonce(process_id) + 1
        end = high
        while low < high:
            middle = (low + high) // 2
            if (
                self._value(
                    "SELECT timestamp FROM entries WHERE process_id = ? AND nonce = ?", process_id, middle
                )
                > timestamp
            ):
                high = middle
            else:
                low = middle + 1
        return low if low < end else None

    def _last_nonce(self, process_id: str) -> int:
        value = self._value("SELECT nonce FROM processes WHERE process_id = ?", process_id)
        return -1 if value is None else int(value)

    def latest(self, process_id: str) -> LogEntry | None:
        """Return the last entry of a process; that of nonce 0 is the process itself."""
        return self._one("process_id = ? ORDER BY nonce DESC", process_id)

    def find_message(self, message_id: str) -> SignedBytes | None:
        """Return a message that is scheduled on any process of this shard."""
        rows = self._rows("SELECT item, envelope FROM entries WHERE message_id = ? LIMIT 1", message_id)
        return SignedBytes(*rows[0]) if rows else None

    def find_item(self, item_id: str) -> bytes | None:
        """Return the raw data item of a message or an assignment of this shard."""
        found = self._value("SELECT assignment FROM entries WHERE assignment_id = ?", item_id)
        if found is not None:
            return bytes(found)
        message = self.find_message(item_id)
        return message.raw if message and message.envelope == ANS104 else None

    def is_posted(self) -> bool:
        """Return whether Arweave has accepted all entries."""
        posted = "SELECT entries_to FROM uploads WHERE settled > 0 OR posts > 0 ORDER BY number DESC LIMIT 1"
        return not self._rows(f"SELECT 1 FROM entries WHERE seq > ifnull(({posted}), 0) LIMIT 1")

    def process_ids(self, after: str = "", limit: int = limits.PAGE_ENTRIES_MAX) -> list[str]:
        """Return at most `limit` process ids after the id `after`, sorted."""
        rows = self._rows(
            "SELECT process_id FROM processes WHERE process_id > ? ORDER BY process_id LIMIT ?", after, limit
        )
        return [row[0] for row in rows]

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        while self._free:
            self._free.pop().close()

    def _one(self, where: str, *values: Any) -> LogEntry | None:
        rows = self._rows(f"SELECT {COLUMNS} FROM entries WHERE {where} LIMIT 1", *values)
        return LogEntry(*rows[0]) if rows else None

    def _value(self, query: str, *values: Any) -> Any:
        rows = self._rows(f"{query} LIMIT 1", *values)
        return rows[0][0] if rows else None

    def _page(self, where: str, values: Sequence[Any], limit: int) -> LogPage:
        query = f"SELECT {COLUMNS} FROM entries WHERE {where} LIMIT ?"
        with self._connection() as db:
            return _take(db.execute(query, (*values, limit + 1)), limit) if db else LogPage()

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._connection() as db:
            return db.execute(query, values).fetchall() if db else []

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection | None]:
        """Yield a connection for this thread alone, or None if there is no log. A connection that fails is
        closed."""
        db = None
        try:
            db = self._take_free() or self._open()
            yield db
        except sqlite3.Error as error:
            if db is not None:
                db.close()
            raise Unavailable(f"the log {self._path.name} can't be read: {error}") from error
        if db is not None:
            self._free.append(db)

    def _take_free(self) -> sqlite3.Connection | None:
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _open(self) -> sqlite3.Connection | None:
        """Return a connection if the log exists and has tables of this version, else None."""
        if not self._path.exists():
            return None
        uri = f"{self._path.as_uri()}?mode=ro"
        db = sqlite3.connect(
            uri,
            uri=True,
            timeout=limits.SQLITE_BUSY_SECONDS_MAX,
            isolation_level=None,
            check_same_thread=False,
        )
        if db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
            return db
        db.close()
        return None


class ShardedReader:
    """The logs of all shards as one: each process is read from the shard that owns it. Methods do what those
    of `LogReader` do."""

    def __init__(self, readers: Sequence[LogReader]) -> None:
        self._readers = readers

    def of(self, process_id: str) -> LogReader:
        """Return the reader of the shard that owns a process."""
        return self._readers[shard_of(process_id, len(self._readers))]

    def process(self, process_id: str) -> LogEntry | None:
        """Return the first entry of a process: its spawn item and the assignment of nonce 0; None if there is
        no such process."""
        return self.of(process_id).process(process_id)

    def entry(self, process_id: str, any_id: str) -> LogEntry | None:
        """Return the entry of a process that has this message id or assignment id; None if there is none."""
        return self.of(process_id).entry(process_id, any_id)

    def nonce_of(self, process_id: str, any_id: str) -> int | None:
        """Return the nonce of the entry that `entry` would return; None if `process_id` is not an id."""
        return self.of(process_id).nonce_of(process_id, any_id) if is_id(process_id) else None

    def entries(
        self,
        process_id: str,
        after_nonce: int = -1,
        limit: int = limits.PAGE_ENTRIES_MAX,
        to_nonce: int = 2**62,
    ) -> LogPage:
        """Return entries of a process in order, from the one after `after_nonce` to `to_nonce` inclusive."""
        return self.of(process_id).entries(process_id, after_nonce, limit, to_nonce)

    def entries_by_time(
        self, process_id: str, after: int = -1, to: int = 2**62, limit: int = limits.PAGE_ENTRIES_MAX
    ) -> LogPage:
        """Return entries of a process in order, with timestamps (ms) from `after` (exclusive) to `to`
        (inclusive)."""
        return self.of(process_id).entries_by_time(process_id, after, to, limit)

    def latest(self, process_id: str) -> LogEntry | None:
        """Return the last entry of a process."""
        return self.of(process_id).latest(process_id)

    def find_message(self, message_id: str) -> SignedBytes | None:
        """Return a message that is scheduled on any process of any shard."""
        found = (reader.find_message(message_id) for reader in self._readers)
        return next((item for item in found if item is not None), None)

    def find_item(self, item_id: str) -> bytes | None:
        """Return the raw data item of a message or an assignment of any shard."""
        found = (reader.find_item(item_id) for reader in self._readers)
        return next((item for item in found if item is not None), None)

    def unposted(self) -> list[int]:
        """Return the numbers of the shards with entries that Arweave has not accepted yet."""
        return [index for index, reader in enumerate(self._readers) if not reader.is_posted()]

    def process_ids(self, after: str = "", limit: int = limits.PAGE_ENTRIES_MAX) -> list[str]:
        """Return at most `limit` process ids of all shards after the id `after`, sorted."""
        return sorted(pid for reader in self._readers for pid in reader.process_ids(after, limit))[:limit]

    def close(self) -> None:
        """Close the readers; a later call opens them again."""
        for reader in self._readers:
            reader.close()


def _take(cursor: sqlite3.Cursor, limit: int) -> LogPage:
    """Read rows up to the bounds of a page in entries and bytes, but at least one."""
    page, size = LogPage(), 0
    for row in cursor:
        entry = LogEntry(*row)
        size += len(entry.item) + len(entry.assignment)
        if len(page) == limit or (page and size > limits.LOG_PAGE_BYTES_MAX):
            page.more = True
            break
        page.append(entry)
    cursor.close()
    return page
