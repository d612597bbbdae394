"""The store of results: the result of each message, and which outboxes are still to be pushed.

Process actors write results here once for each slice of work; gateways read them, and both settle outboxes
(`deliveries`). The store is one SQLite file with several writers (WAL, busy timeout). It uses
`synchronous=NORMAL`, since a replay makes the same results again if a power cut loses some.

The index of checkpoints (checkpoints.py) is in the same file, because the same terms fence it. The
scheduler's attester reads the hashes of results and of states at checkpoints.

Invariants
* A result is written once; writing it again changes nothing.
* The results of a process are written in the order of nonces, and only by the holder of its latest term: the
  term is checked in the transaction that writes the rows (`StaleTerm`). A successor calls `claim` first,
  which fences its predecessor, so after that only the successor changes what `last_nonce` returns.

On failure: `Unavailable` (the disk, or a lock held too long): nothing of the batch was written, and the
caller may try again. `StaleTerm` names the processes that have a successor; the rows of the others are
written.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import orjson

from aoray import limits
from aoray.errors import AorayError, StaleTerm
from aoray.protocol.attestations import Statement, result_hash
from aoray.storage.deliveries import SCHEMA as DELIVERIES_SCHEMA
from aoray.storage.deliveries import Deliveries
from aoray.storage.records import Divergence, Mark, ResultRow, Sort
from aoray.storage.sql import SqlTransaction, as_unavailable, sqlite_transaction, upsert_sql

logger = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS terms (process_id TEXT PRIMARY KEY, term INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
    process_id TEXT NOT NULL, nonce INTEGER NOT NULL, message_id TEXT NOT NULL, assignment_id TEXT NOT NULL,
    timestamp INTEGER NOT NULL, block_height INTEGER NOT NULL, result BLOB NOT NULL,
    has_error INTEGER NOT NULL, pushed_for TEXT NOT NULL, pushed INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS results_by_nonce ON results (process_id, nonce);
CREATE INDEX IF NOT EXISTS results_unpushed ON results (process_id, nonce) WHERE pushed = 0;
CREATE INDEX IF NOT EXISTS results_of_ticks ON results (process_id, nonce) WHERE pushed_for = '';
CREATE TABLE IF NOT EXISTS checkpoints (
    process_id TEXT NOT NULL, nonce INTEGER NOT NULL, term INTEGER NOT NULL, timestamp INTEGER NOT NULL,
    block_height INTEGER NOT NULL, state_hash TEXT NOT NULL, file TEXT NOT NULL, bytes INTEGER NOT NULL,
    parent TEXT NOT NULL,
    PRIMARY KEY (process_id, nonce)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS checkpoints_by_file ON checkpoints (file);
CREATE TABLE IF NOT EXISTS states (  -- of every checkpoint there ever was, to be attested
    process_id TEXT NOT NULL, nonce INTEGER NOT NULL, state_hash TEXT NOT NULL,
    UNIQUE (process_id, nonce)
);
"""
# Processes that diverged. The stores of earlier versions do not have this table.
DIVERGED_SCHEMA = """
CREATE TABLE IF NOT EXISTS diverged (
    process_id TEXT PRIMARY KEY, nonce INTEGER NOT NULL, stored BLOB NOT NULL, evaluated BLOB NOT NULL,
    since_ms INTEGER NOT NULL
) WITHOUT ROWID;
"""
# Indices of earlier versions. Ids are random, so each row wrote two more pages of 4 KiB; the log has both.
NO_LONGER = """
DROP INDEX IF EXISTS results_by_message;
DROP INDEX IF EXISTS results_by_assignment;
"""
FAULT = "the results can't be read or written"
BUSY_FIRST_SECONDS = 0.0001

NonceOf = Callable[[str, str], int | None]  # of a process's message or assignment; None if the log has none


COLUMNS = ", ".join(ResultRow._fields)


class ResultsBackend(Protocol):
    """A connection to the database of results, such as `SqliteConnection`. Threads may share it."""

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return the rows that a query finds."""

    def transaction(self) -> AbstractContextManager[SqlTransaction]:
        """Run a durable transaction, which is written completely or not at all."""

    def stale(self, db: SqlTransaction, term_of: Mapping[str, int]) -> set[str]:
        """Return which of these processes (id to term) have a later term; the others stay ours until the
        transaction ends."""

    def guard(self, db: SqlTransaction, file: str, *, wait: bool = True) -> bool:
        """Lock a checkpoint file, so that no other writer indexes or removes it until the transaction ends.
        Without `wait`, return False if another writer has the lock."""

    def close(self) -> None:
        """Close the connection."""


async def checkpoint_wal_forever(results: Results, written: Callable[[], int]) -> None:
    """Keep the WAL of the results short, in a thread, forever. Otherwise a commit would move its contents to
    the file, while all writers wait some 20 ms. `written` counts commits."""
    moved = 0
    while True:
        await asyncio.sleep(limits.RESULTS_WAL_CHECKPOINT_SECONDS)
        if written() == moved:  # other writers do this for what they wrote
            continue
        moved = written()
        try:
            await asyncio.to_thread(results.checkpoint_wal)
        except AorayError as error:  # writers log the same fault
            logger.info("the WAL of the results can not be shortened: %s", error)


def nonce_in(name: str) -> int | None:
    """Return the nonce that this text names, or None if it is not a nonce (an id is longer)."""
    return int(name) if name.isdecimal() and name.isascii() and len(name) < 19 else None


class Results:
    """One OS process's access to the store of results. Threads may share it; one reads and one writes at a
    time."""

    def __init__(self, path: Path, nonce_of: NonceOf | None = None) -> None:
        """Open the file, and create it if it does not exist. `nonce_of` finds the nonce of a message or an
        assignment in the log; without it, `get` searches the results of the process."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._nonce_of = nonce_of
        self._path = path
        self._use(SqliteConnection(path), SqliteConnection(path))

    def _use(self, reads: ResultsBackend, writes: ResultsBackend) -> None:
        self._reads = reads
        self._writes = writes
        self.deliveries = Deliveries(reads, writes)

    def claim(self, process_id: str, term: int) -> None:
        """Fence a process: from now on only this term, or a later one, writes its results."""
        self.commit({process_id: term}, ())

    def commit(self, term_of: Mapping[str, int], rows: Sequence[ResultRow]) -> None:
        """Write results in one transaction, except those of processes that have a later term, for which
        `StaleTerm` is raised."""
        with self._writes.transaction() as db:
            stale = self._writes.stale(db, term_of)
            kept = [row for row in rows if row.process_id not in stale] if stale else rows
            db.executemany(f"INSERT OR IGNORE INTO results ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)", kept)
        if stale:
            raise StaleTerm("a successor evaluates these processes", processes=sorted(stale))

    def get(self, process_id: str, any_id: str) -> ResultRow | None:
        """Return the result of a message by its id or its assignment's id; the id of the process itself names
        nonce 0."""
        if self._nonce_of is None:
            return self._one("process_id = ? AND ? IN (message_id, assignment_id)", process_id, any_id)
        nonce = self._nonce_of(process_id, any_id)
        return None if nonce is None else self.at(process_id, nonce)

    def checkpoint_wal(self) -> None:
        """Move the contents of the WAL into the file, without stopping readers or writers. What this leaves,
        because writers are active, a commit moves later."""
        with as_unavailable(FAULT), closing(sqlite3.connect(self._path, timeout=0)) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def find(self, process_id: str, name: str) -> ResultRow | None:
        """Return the result of a slot by a message's id, an assignment's id, or the nonce."""
        nonce = nonce_in(name)
        return self.get(process_id, name) if nonce is None else self.at(process_id, nonce)

    def at(self, process_id: str, nonce: int) -> ResultRow | None:
        """Return the result of a slot."""
        return self._one("process_id = ? AND nonce = ?", process_id, nonce)

    def page(
        self,
        process_id: str,
        *,
        after: int | None = None,
        to: int | None = None,
        sort: Sort = "ASC",
        limit: int = limits.PAGE_ENTRIES_MAX,
        ticks: bool = False,
    ) -> tuple[list[ResultRow], bool]:
        """Return results without errors, and whether there are more.

        `after` (exclusive) and `to` (inclusive) are timestamps in ms; `after` is the earlier bound in both
        sort orders. `ticks` selects results of ticks. A page has at most `limit` results and
        `limits.RESULTS_PAGE_BYTES_MAX` bytes, but at least one result.
        """
        last = self.last_nonce(process_id)  # later results are not in this page
        nonces = self._nonce_up_to(process_id, after, -1), self._nonce_up_to(process_id, to, last)
        only = "AND pushed_for = '' " if ticks else ""
        where = (
            "process_id = ? AND nonce > ? AND nonce <= ? AND NOT has_error"
            f" {only}ORDER BY nonce {sort} LIMIT ?"
        )
        sizes = self._reads.rows(
            f"SELECT length(result) FROM results WHERE {where}", process_id, *nonces, limit + 1
        )
        total = itertools.accumulate(size for (size,) in sizes[:limit])
        fitting = sum(size <= limits.RESULTS_PAGE_BYTES_MAX for size in total) or min(1, len(sizes))
        return self._many(where, process_id, *nonces, fitting), len(sizes) > fitting

    def _nonce_up_to(self, process_id: str, timestamp: int | None, default: int) -> int:
        """Return the last nonce whose timestamp is not later than this one, by binary search."""
        if timestamp is None:
            return default
        low, high = -1, self.last_nonce(process_id)
        while low < high:
            middle = (low + high + 1) // 2
            found = self._value(
                "SELECT timestamp FROM results WHERE process_id = ? AND nonce = ?", process_id, middle
            )
            low, high = (middle, high) if found is not None and found <= timestamp else (low, middle - 1)
        return low

    def last_nonce(self, process_id: str) -> int:
        """Return the last nonce of a process that has a result, -1 if none has; all earlier nonces have
        results too."""
        found = self._value("SELECT max(nonce) FROM results WHERE process_id = ?", process_id)
        return -1 if found is None else int(found)

    def last_nonces(self, process_ids: Sequence[str]) -> dict[str, int]:
        """Return the last nonce with a result of each of these processes, in one query. A process without
        results is left out."""
        query = (
            "SELECT j.value, (SELECT max(nonce) FROM results WHERE process_id = j.value) FROM json_each(?) j"
        )
        rows = self._reads.rows(query, orjson.dumps(process_ids).decode())
        return {process_id: nonce for process_id, nonce in rows if nonce is not None}

    def unpushed(self, limit: int, after: tuple[str, int] = ("", -1)) -> list[tuple[str, int]]:
        """Return at most `limit` slots (process id, nonce) after `after` whose outboxes are not marked as
        pushed, in order."""
        query = (
            "SELECT process_id, nonce FROM results WHERE pushed = 0 AND (process_id, nonce) > (?, ?)"
            " ORDER BY process_id, nonce LIMIT ?"
        )
        return self._reads.rows(query, *after, limit)

    def statements(self, process_id: str, after: int, limit: int) -> list[Statement]:
        """Return statements, without states, about at most `limit` slots of a process after the nonce
        `after`."""
        query = (
            "SELECT nonce, message_id, result_hash(result), '' FROM results"
            " WHERE process_id = ? AND nonce > ? ORDER BY nonce LIMIT ?"
        )
        return [Statement(*row) for row in self._reads.rows(query, process_id, after, limit)]

    def states(self, process_id: str, after: int, to: int, limit: int) -> list[Statement]:
        """Return statements about at most `limit` slots that have a checkpoint, after the nonce `after` and
        up to `to`."""
        query = (
            "SELECT nonce, message_id, result_hash(result), state_hash"
            " FROM states JOIN results USING (process_id, nonce)"
            " WHERE process_id = ? AND nonce > ? AND nonce <= ? ORDER BY nonce LIMIT ?"
        )
        return [Statement(*row) for row in self._reads.rows(query, process_id, after, to, limit)]

    def mark(self) -> Mark:
        """Return the present end of the tables."""
        return Mark(*(self._value(f"SELECT ifnull(max(rowid), 0) FROM {table}") for table in Mark._fields))

    def written_since(self, mark: Mark) -> tuple[set[str], Mark]:
        """Return the processes with results or states written since a mark, and the next mark. A mark is
        valid for one run of the computer, since a power cut may take rows back."""
        found: set[str] = set()
        last = []
        for table, after in zip(Mark._fields, mark, strict=True):
            new = f"FROM {table} NOT INDEXED WHERE rowid > ?"  # with an index SQLite would scan all rows
            rows = self._reads.rows(f"SELECT process_id, max(rowid) {new} GROUP BY process_id", after)
            found.update(process_id for process_id, _ in rows)
            last.append(max((rowid for _, rowid in rows), default=after))
        return found, Mark(*last)

    def has_error(self, process_id: str, nonce: int) -> bool | None:
        """Return whether a slot's result is an error; None if it has no result yet."""
        found = self._value(
            "SELECT has_error FROM results WHERE process_id = ? AND nonce = ?", process_id, nonce
        )
        return None if found is None else bool(found)

    def stored(self, process_id: str, first: int, last: int) -> dict[int, bytes]:
        """Return the stored results of the slots from `first` to `last`, by nonce."""
        query = "SELECT nonce, result FROM results WHERE process_id = ? AND nonce BETWEEN ? AND ?"
        return {nonce: bytes(result) for nonce, result in self._reads.rows(query, process_id, first, last)}

    def diverge(self, found: Divergence) -> None:
        """Record a slot with both of its results. An earlier record of the same process stays."""
        with self._writes.transaction() as db:
            row = f"({', '.join(Divergence._fields)}) VALUES (?, ?, ?, ?, ?)"
            db.executemany(f"INSERT OR IGNORE INTO diverged {row}", [found])

    def diverged(self) -> dict[str, Divergence]:
        """Return the processes that are stopped because a repeated evaluation gave another result."""
        rows = self._reads.rows(f"SELECT {', '.join(Divergence._fields)} FROM diverged ORDER BY process_id")
        return {row[0]: Divergence(*row) for row in rows}

    def forget_divergence(self, process_id: str) -> Divergence | None:
        """Allow a diverged process to be evaluated again. Return the record; None if there was none."""
        found = self.diverged().get(process_id)
        with self._writes.transaction() as db:
            db.execute("DELETE FROM diverged WHERE process_id = ?", (process_id,))
        return found

    def close(self) -> None:
        """Close the file."""
        self._reads.close()
        self._writes.close()

    def _one(self, where: str, *values: Any) -> ResultRow | None:
        found = self._many(f"{where} LIMIT 1", *values)
        return found[0] if found else None

    def _many(self, where: str, *values: Any) -> list[ResultRow]:
        rows = self._reads.rows(f"SELECT {COLUMNS} FROM results WHERE {where}", *values)
        return [ResultRow(*row)._replace(has_error=bool(row[7]), pushed=bool(row[9])) for row in rows]

    def _value(self, query: str, *values: Any) -> Any:
        rows = self._reads.rows(query, *values)
        return rows[0][0] if rows else None


class SqliteConnection:
    """A connection to SQLite on which threads take turns. Its faults are raised as `Unavailable`."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        with as_unavailable(FAULT):
            self._db = sqlite3.connect(
                path, timeout=limits.SQLITE_BUSY_SECONDS_MAX, isolation_level=None, check_same_thread=False
            )
            # SQLite itself does not wait for other users when the journal mode changes; `_execute` does.
            if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                self._execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            # A commit that moves the WAL into the file delays writers: `checkpoint_wal_forever` prevents it.
            self._db.execute("PRAGMA wal_autocheckpoint=4000")
            self._db.executescript(SCHEMA + DELIVERIES_SCHEMA + DIVERGED_SCHEMA + NO_LONGER)
            self._db.create_function("result_hash", 1, result_hash, deterministic=True)
            self._db.execute("PRAGMA busy_timeout=0")  # from here on `_execute` waits

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return the rows that a query finds."""
        with self._lock, as_unavailable(FAULT):
            return self._execute(query, *values).fetchall()

    def _execute(self, query: str, *values: Any) -> sqlite3.Cursor:
        """Execute a statement. If the database is locked, retry after short waits; SQLite itself would sleep
        for milliseconds, which is longer than most writes take."""
        end, wait_s = time.monotonic() + limits.SQLITE_BUSY_SECONDS_MAX, BUSY_FIRST_SECONDS
        while True:
            try:
                return self._db.execute(query, values)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, limits.SQLITE_LOOK_MS_MAX / 1000)

    def stale(self, db: SqlTransaction, term_of: Mapping[str, int]) -> set[str]:
        """Return which of these processes have a later term; nobody writes with an earlier term for the
        others."""
        return {process_id for process_id, term in term_of.items() if not hold(db, process_id, term)}

    def guard(self, db: SqlTransaction, file: str, *, wait: bool = True) -> bool:
        """Return True: while this transaction lasts, nobody else can write."""
        return True

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a durable transaction, which is written completely or not at all."""
        with self._lock, as_unavailable(FAULT), sqlite_transaction(self._db, self._execute):
            yield self._db

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._db.close()


def hold(db: SqlTransaction, process_id: str, term: int) -> bool:
    """Return whether this term may write the results of a process; record it if it is the latest so far."""
    found = db.execute("SELECT term FROM terms WHERE process_id = ?", [process_id]).fetchone()
    if found is None or found[0] < term:
        db.execute(upsert_sql("terms", ["process_id"], ["term"]), [process_id, term])
    return found is None or found[0] <= term
