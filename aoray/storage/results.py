"""The store of results: what each message's evaluation gave, and which outboxes are still to be pushed.

Process actors write here once for each slice of work; gateways read results, and both settle outboxes
(`deliveries`).
One SQLite file with several writing processes (WAL, busy timeout); `synchronous=NORMAL`, since whatever a
power cut takes is made again, the same, by replay.

The index of checkpoints (checkpoints.py) is in the same file, since the same terms fence it. The scheduler's
attester reads what there is to attest: hashes of results, and of the states at checkpoints.

Invariants
* A result is written once; writing it again leaves it as it is.
* A process's results are written in nonce order, and only by the holder of its latest term: the check is in
  the same transaction as the rows (`StaleTerm`). A successor calls `claim` first, and its predecessor is
  fenced from there on, so what `last_nonce` says afterwards can only change through the successor.

On failure: `Unavailable` (the disk, a lock held too long): nothing of the batch was written, try again.
`StaleTerm` names the processes that have a successor; the rows of the others are written.
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
# Processes that are stopped, and why. Earlier stores do not have it.
DIVERGED_SCHEMA = """
CREATE TABLE IF NOT EXISTS diverged (
    process_id TEXT PRIMARY KEY, nonce INTEGER NOT NULL, stored BLOB NOT NULL, evaluated BLOB NOT NULL,
    since_ms INTEGER NOT NULL
) WITHOUT ROWID;
"""
# Earlier stores had them. Ids are random, so a row wrote two pages of 4 KiB more; the log has such indices.
NO_LONGER = """
DROP INDEX IF EXISTS results_by_message;
DROP INDEX IF EXISTS results_by_assignment;
"""
FAULT = "the results can't be read or written"
BUSY_FIRST_SECONDS = 0.0001

NonceOf = Callable[[str, str], int | None]  # of a process's message or assignment; None if the log has none


COLUMNS = ", ".join(ResultRow._fields)


class ResultsBackend(Protocol):
    """The database that results need; SQLite's is `SqliteConnection`. Threads may share it."""

    def rows(self, query: str, *values: Any) -> list[Any]: ...
    def transaction(self) -> AbstractContextManager[SqlTransaction]: ...
    def stale(self, db: SqlTransaction, term_of: Mapping[str, int]) -> set[str]: ...
    def guard(self, db: SqlTransaction, file: str, *, wait: bool = True) -> bool: ...
    def close(self) -> None: ...


async def fold_forever(results: Results, written: Callable[[], int]) -> None:
    """Keep the WAL of a file short, in a thread; otherwise a commit folds it, and all writers wait 20 ms."""
    folded = 0
    while True:
        await asyncio.sleep(limits.FOLD_SECONDS)
        if written() == folded:  # whoever else writes folds what it wrote
            continue
        folded = written()
        try:
            await asyncio.to_thread(results.fold)
        except AorayError as error:  # whoever writes says so too
            logger.info("the results are not folded: %s", error)


def nonce_in(name: str) -> int | None:
    """Return the nonce, if the text is one and names a slot; an id is longer."""
    return int(name) if name.isdecimal() and name.isascii() and len(name) < 19 else None


class Results:
    """One OS process's access to the store of results. Threads may share it: one reads and one writes at
    a time."""

    def __init__(self, path: Path, nonce_of: NonceOf | None = None) -> None:
        """`nonce_of` finds a message or an assignment in the log; without it, `get` reads what it passes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._nonce_of = nonce_of
        self._path = path
        self._use(SqliteConnection(path), SqliteConnection(path))

    def _use(self, reads: ResultsBackend, writes: ResultsBackend) -> None:
        self._reads = reads
        self._writes = writes
        self.deliveries = Deliveries(reads, writes)

    def claim(self, process_id: str, term: int) -> None:
        """Fence a process: from now on only this term (or a later one) writes its results."""
        self.commit({process_id: term}, ())

    def commit(self, term_of: Mapping[str, int], rows: Sequence[ResultRow]) -> None:
        """Write a batch in one transaction: all rows of the processes whose term is not over."""
        with self._writes.transaction() as db:
            stale = self._writes.stale(db, term_of)
            kept = [row for row in rows if row.process_id not in stale] if stale else rows
            db.executemany(f"INSERT OR IGNORE INTO results ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)", kept)
        if stale:
            raise StaleTerm("a successor evaluates these processes", processes=sorted(stale))

    def get(self, process_id: str, any_id: str) -> ResultRow | None:
        """Return the result of a message, by its id or its assignment's id; a process's own id names
        nonce 0."""
        if self._nonce_of is None:
            return self._one("process_id = ? AND ? IN (message_id, assignment_id)", process_id, any_id)
        nonce = self._nonce_of(process_id, any_id)
        return None if nonce is None else self.at(process_id, nonce)

    def fold(self) -> None:
        """Move the contents of the WAL into the file, beside readers and writers. (If writers leave no
        gap it grows all the same, and commits fold what is left, which is little.)"""
        with as_unavailable(FAULT), closing(sqlite3.connect(self._path, timeout=0)) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def find(self, process_id: str, name: str) -> ResultRow | None:
        """Return the result of a slot by any of its names: a message's or an assignment's id, or the
        nonce."""
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
        """Return results without error, by timestamp (ms): `after` (exclusive) is the older bound in both
        sorts.

        With `ticks` only those of ticks. At most `limit` of them, and at most `limits.RESULTS_PAGE_BYTES_MAX`
        of results (but one at least); and whether there are more.
        """
        last = self.last_nonce(process_id)  # what is written from here on is not in this page
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
        """The last nonce with a timestamp not above this one, by halving: timestamps rise with nonces."""
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
        """Return the nonce of the last slot that has a result; -1 if none has. All before it have one too."""
        found = self._value("SELECT max(nonce) FROM results WHERE process_id = ?", process_id)
        return -1 if found is None else int(found)

    def last_nonces(self, process_ids: Sequence[str]) -> dict[str, int]:
        """Return the nonces of the last slots with a result, of many processes in one query; a process
        without results is left out."""
        query = (
            "SELECT j.value, (SELECT max(nonce) FROM results WHERE process_id = j.value) FROM json_each(?) j"
        )
        rows = self._reads.rows(query, orjson.dumps(process_ids).decode())
        return {process_id: nonce for process_id, nonce in rows if nonce is not None}

    def unpushed(self, limit: int, after: tuple[str, int] = ("", -1)) -> list[tuple[str, int]]:
        """Return the slots after one whose outboxes are not marked as sent, in order."""
        query = (
            "SELECT process_id, nonce FROM results WHERE pushed = 0 AND (process_id, nonce) > (?, ?)"
            " ORDER BY process_id, nonce LIMIT ?"
        )
        return self._reads.rows(query, *after, limit)

    def statements(self, process_id: str, after: int, limit: int) -> list[Statement]:
        """Return what can be attested of the slots after a nonce, without their states."""
        query = (
            "SELECT nonce, message_id, result_hash(result), '' FROM results"
            " WHERE process_id = ? AND nonce > ? ORDER BY nonce LIMIT ?"
        )
        return [Statement(*row) for row in self._reads.rows(query, process_id, after, limit)]

    def states(self, process_id: str, after: int, to: int, limit: int) -> list[Statement]:
        """Return what can be attested of the slots with a checkpoint after a nonce, up to another."""
        query = (
            "SELECT nonce, message_id, result_hash(result), state_hash"
            " FROM states JOIN results USING (process_id, nonce)"
            " WHERE process_id = ? AND nonce > ? AND nonce <= ? ORDER BY nonce LIMIT ?"
        )
        return [Statement(*row) for row in self._reads.rows(query, process_id, after, to, limit)]

    def mark(self) -> Mark:
        """Return the position of the tables now."""
        return Mark(*(self._value(f"SELECT ifnull(max(rowid), 0) FROM {table}") for table in Mark._fields))

    def written_since(self, mark: Mark) -> tuple[set[str], Mark]:
        """Return the processes that have results or states since a mark, and the next mark (while the
        disk lives)."""
        found: set[str] = set()
        last = []
        for table, after in zip(Mark._fields, mark, strict=True):
            new = f"FROM {table} NOT INDEXED WHERE rowid > ?"  # by an index it would look at all there is
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
        """Return the results of these slots, as far as there are any."""
        query = "SELECT nonce, result FROM results WHERE process_id = ? AND nonce BETWEEN ? AND ?"
        return {nonce: bytes(result) for nonce, result in self._reads.rows(query, process_id, first, last)}

    def diverge(self, found: Divergence) -> None:
        """Store both results of a slot; the first such slot of a process stays."""
        with self._writes.transaction() as db:
            row = f"({', '.join(Divergence._fields)}) VALUES (?, ?, ?, ?, ?)"
            db.executemany(f"INSERT OR IGNORE INTO diverged {row}", [found])

    def diverged(self) -> dict[str, Divergence]:
        """Return the processes that are stopped because their results differ."""
        rows = self._reads.rows(f"SELECT {', '.join(Divergence._fields)} FROM diverged ORDER BY process_id")
        return {row[0]: Divergence(*row) for row in rows}

    def forget_divergence(self, process_id: str) -> Divergence | None:
        """Let a stopped process be evaluated again. Returns why it was stopped; None if it was not."""
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
    """A connection to SQLite that threads take turns on; its faults are raised as `Unavailable`."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        with as_unavailable(FAULT):
            self._db = sqlite3.connect(
                path, timeout=limits.SQLITE_BUSY_SECONDS_MAX, isolation_level=None, check_same_thread=False
            )
            # SQLite does not wait when the journal mode changes: it is changed once, and waited for.
            if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                self._execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            # Where a commit folds the WAL, all who write wait for the disk: `fold_forever` does it before.
            self._db.execute("PRAGMA wal_autocheckpoint=4000")
            self._db.executescript(SCHEMA + DELIVERIES_SCHEMA + DIVERGED_SCHEMA + NO_LONGER)
            self._db.create_function("result_hash", 1, result_hash, deterministic=True)
            self._db.execute("PRAGMA busy_timeout=0")  # from here on `_execute` waits

    def rows(self, query: str, *values: Any) -> list[Any]:
        with self._lock, as_unavailable(FAULT):
            return self._execute(query, *values).fetchall()

    def _execute(self, query: str, *values: Any) -> sqlite3.Cursor:
        """While somebody else writes, wait: it takes less than the milliseconds that SQLite sleeps."""
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
        """Return which of these processes have a later term; nobody writes the others with an earlier one."""
        return {process_id for process_id, term in term_of.items() if not hold(db, process_id, term)}

    def guard(self, db: SqlTransaction, file: str, *, wait: bool = True) -> bool:
        """Keep other writers from indexing or removing a file of checkpoints: nobody else writes
        meanwhile."""
        return True

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, as_unavailable(FAULT), sqlite_transaction(self._db, self._execute):
            yield self._db

    def close(self) -> None:
        with self._lock:
            self._db.close()


def hold(db: SqlTransaction, process_id: str, term: int) -> bool:
    """Return whether this term may write; a term later than any before is stored."""
    found = db.execute("SELECT term FROM terms WHERE process_id = ?", [process_id]).fetchone()
    if found is None or found[0] < term:
        db.execute(upsert_sql("terms", ["process_id"], ["term"]), [process_id, term])
    return found is None or found[0] <= term
