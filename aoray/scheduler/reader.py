"""Reading a shard's log from anywhere on the machine: gateways (SU routes), process actors (replay), the
verifier.

A reader has read-only connections of its own, and sees exactly what is committed, so nothing that is not
durable. It may be used from several threads at once. A log that is not there yet reads as
empty; opening is tried again at the next call. On failure: `Unavailable`, and the connection is opened anew
next time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aoray import limits
from aoray.errors import Unavailable
from aoray.protocol.assignments import LogEntry
from aoray.protocol.ids import b64url_decode, is_id
from aoray.scheduler.log import BUSY_SECONDS, SCHEMA_VERSION
from aoray.settings import Settings

COLUMNS = "process_id, nonce, message_id, assignment_id, timestamp, item, assignment"


class ProcessRecord(NamedTuple):
    """A process: its own item and its own assignment (nonce 0)."""

    process_id: str
    item: bytes
    assignment_id: str
    timestamp: int
    assignment: bytes


class Page(list[LogEntry]):
    """A page of entries. `more`: others follow it (a page may end early, by its bytes)."""

    def __init__(self, entries: Iterable[LogEntry] = (), *, more: bool = False) -> None:
        super().__init__(entries)
        self.more = more


class LogReader:
    """The entries of one shard."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free: list[sqlite3.Connection] = []  # not in use; taken and given back by one thread at a time

    def process(self, process_id: str) -> ProcessRecord | None:
        """The process of that id."""
        entry = self._one("process_id = ? AND nonce = 0", process_id)
        if entry is None:
            return None
        return ProcessRecord(process_id, entry.item, entry.assignment_id, entry.timestamp, entry.assignment)

    def entry(self, process_id: str, any_id: str) -> LogEntry | None:
        """The entry of a process by the id of its message or of its assignment."""
        found = self._one("message_id = ? AND process_id = ?", any_id, process_id)
        return found or self._one("assignment_id = ? AND process_id = ?", any_id, process_id)

    def nonce_of(self, process_id: str, any_id: str) -> int | None:
        """Where `entry` would find it."""
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
    ) -> Page:
        """Entries in order, from the one after `after_nonce` to `to_nonce` inclusive."""
        where = "process_id = ? AND nonce > ? AND nonce <= ? ORDER BY nonce"
        return self._page(where, (process_id, after_nonce, to_nonce), limit)

    def entries_by_time(
        self, process_id: str, after: int = -1, to: int = 2**62, limit: int = limits.PAGE_ENTRIES_MAX
    ) -> Page:
        """Entries in order, with timestamps from `after` (exclusive) to `to` (inclusive)."""
        first = self._nonce_after(process_id, after)
        if first is None:
            return Page()
        # Timestamps rise with nonces, so the page begins at that nonce and ends at the first later timestamp.
        page = self.entries(process_id, first - 1, limit)
        kept = [entry for entry in page if entry.timestamp <= to]
        return Page(kept, more=page.more and len(kept) == len(page))

    def _nonce_after(self, process_id: str, timestamp: int) -> int | None:
        """The first nonce with a later timestamp, by halving (an index would cost each append)."""
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
        """The last entry; nonce 0 is the process itself."""
        return self._one("process_id = ? ORDER BY nonce DESC", process_id)

    def find_message(self, message_id: str) -> bytes | None:
        """The raw item of a message, whichever process of this shard it was scheduled on."""
        found = self._value("SELECT item FROM entries WHERE message_id = ?", message_id)
        return None if found is None else bytes(found)

    def find_item(self, item_id: str) -> bytes | None:
        """The raw item of a message or of an assignment."""
        found = self._value("SELECT assignment FROM entries WHERE assignment_id = ?", item_id)
        return self.find_message(item_id) if found is None else bytes(found)

    def is_posted(self) -> bool:
        """Whether Arweave has accepted all the entries."""
        posted = "SELECT entries_to FROM uploads WHERE settled > 0 OR posts > 0 ORDER BY number DESC LIMIT 1"
        return not self._rows(f"SELECT 1 FROM entries WHERE seq > ifnull(({posted}), 0) LIMIT 1")

    def process_ids(self, after: str = "", limit: int = limits.PAGE_ENTRIES_MAX) -> list[str]:
        """A page of process ids, in their order."""
        rows = self._rows(
            "SELECT process_id FROM processes WHERE process_id > ? ORDER BY process_id LIMIT ?", after, limit
        )
        return [row[0] for row in rows]

    def close(self) -> None:
        """Let go of the file; a later call opens it again."""
        while self._free:
            self._free.pop().close()

    def _one(self, where: str, *values: Any) -> LogEntry | None:
        rows = self._rows(f"SELECT {COLUMNS} FROM entries WHERE {where} LIMIT 1", *values)
        return LogEntry(*rows[0]) if rows else None

    def _value(self, query: str, *values: Any) -> Any:
        rows = self._rows(f"{query} LIMIT 1", *values)
        return rows[0][0] if rows else None

    def _page(self, where: str, values: Sequence[Any], limit: int) -> Page:
        query = f"SELECT {COLUMNS} FROM entries WHERE {where} LIMIT ?"
        with self._connection() as db:
            return _take(db.execute(query, (*values, limit + 1)), limit) if db else Page()

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._connection() as db:
            return db.execute(query, values).fetchall() if db else []

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection | None]:
        """A connection for this thread alone, if the log is there; one that failed is not used again."""
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
        """Connect, if the log is there and whole."""
        if not self._path.exists():
            return None
        uri = f"{self._path.as_uri()}?mode=ro"
        db = sqlite3.connect(
            uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        if db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
            return db
        db.close()
        return None


class ShardedReader:
    """All shards' logs as one: each process is read from the shard that owns it."""

    def __init__(self, readers: Sequence[LogReader]) -> None:
        self._readers = readers

    def of(self, process_id: str) -> LogReader:
        """The reader of the shard that owns a process."""
        return self._readers[shard_of(process_id, len(self._readers))]

    def process(self, process_id: str) -> ProcessRecord | None:
        """See `LogReader`, as for the others."""
        return self.of(process_id).process(process_id)

    def entry(self, process_id: str, any_id: str) -> LogEntry | None:
        return self.of(process_id).entry(process_id, any_id)

    def nonce_of(self, process_id: str, any_id: str) -> int | None:
        return self.of(process_id).nonce_of(process_id, any_id) if is_id(process_id) else None

    def entries(
        self,
        process_id: str,
        after_nonce: int = -1,
        limit: int = limits.PAGE_ENTRIES_MAX,
        to_nonce: int = 2**62,
    ) -> Page:
        return self.of(process_id).entries(process_id, after_nonce, limit, to_nonce)

    def entries_by_time(
        self, process_id: str, after: int = -1, to: int = 2**62, limit: int = limits.PAGE_ENTRIES_MAX
    ) -> Page:
        return self.of(process_id).entries_by_time(process_id, after, to, limit)

    def latest(self, process_id: str) -> LogEntry | None:
        return self.of(process_id).latest(process_id)

    def find_message(self, message_id: str) -> bytes | None:
        """The raw item of a message that was scheduled on any process of any shard."""
        found = (reader.find_message(message_id) for reader in self._readers)
        return next((item for item in found if item is not None), None)

    def find_item(self, item_id: str) -> bytes | None:
        """The raw item of a message or an assignment of any shard."""
        found = (reader.find_item(item_id) for reader in self._readers)
        return next((item for item in found if item is not None), None)

    def unposted(self) -> list[int]:
        """The shards with entries that Arweave has not accepted."""
        return [index for index, reader in enumerate(self._readers) if not reader.is_posted()]

    def process_ids(self, after: str = "", limit: int = limits.PAGE_ENTRIES_MAX) -> list[str]:
        """A page of all process ids, in their order."""
        return sorted(pid for reader in self._readers for pid in reader.process_ids(after, limit))[:limit]

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


def shard_of(process_id: str, shards: int) -> int:
    """The shard that owns a process: a number from the first bytes of its id, which is a hash already."""
    return int.from_bytes(b64url_decode(process_id)[:8], "big") % shards


def log_path(settings: Settings, index: int) -> Path:
    """The file of a shard's log."""
    return settings.data / f"log-{index}.sqlite"


def open_readers(settings: Settings) -> ShardedReader:
    """A reader over the logs of all shards."""
    if settings.store:
        from aoray.postgres import place_of
        from aoray.scheduler.postgres_log import PostgresReader

        place = place_of(settings.store)
        return ShardedReader([PostgresReader(place, index) for index in range(settings.shards)])
    return ShardedReader([LogReader(log_path(settings, index)) for index in range(settings.shards)])


def _take(cursor: sqlite3.Cursor, limit: int) -> Page:
    """Read rows up to the page's entries or bytes; at least one."""
    page, size = Page(), 0
    for row in cursor:
        entry = LogEntry(*row)
        size += len(entry.item) + len(entry.assignment)
        if len(page) == limit or (page and size > limits.LOG_PAGE_BYTES_MAX):
            page.more = True
            break
        page.append(entry)
    cursor.close()
    return page
