"""The durable log of one shard: the ordered entries of every process, the terms that fence writers, and what
is to be brought to Arweave (`storage.uploads`) and attested (`storage.attestation_cursors`).

Where in a message's journey: the shard appends one batch in one transaction, and nobody is told of a message
before this transaction is on disk (WAL, `synchronous=FULL`). Gateways and process actors read the log through
`aoray.storage.log_reader` on connections of their own.

Invariants, which the schema enforces too: a process has each nonce once and each message once; an assignment
id occurs once; `processes` holds exactly the head of each process in `entries`. A writer holds a *term*,
taken with `take_over()`; each write checks it inside its transaction, so a shard that was replaced can never
write again (`StaleTerm`).

On failure: after `StaleTerm` the writer must stop. Any other fault of the disk raises `Unavailable`; then
nothing of the batch is in the log, and the caller must open the log again, since a connection can't be
trusted after a failed fsync.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import orjson

from aoray import limits
from aoray.errors import ClientError, StaleTerm
from aoray.protocol.assignments import Head, LogEntry
from aoray.protocol.signed import SignedBytes
from aoray.storage import attestation_cursors as attested
from aoray.storage import crontab, decisions, uploads
from aoray.storage.attestation_cursors import Attested
from aoray.storage.crontab import CronState, Crontab, advance
from aoray.storage.decisions import Decisions
from aoray.storage.records import PlacedProcess, ProcessState, Slot
from aoray.storage.sql import SqlTransaction, as_unavailable, sqlite_transaction, statements, upsert_sql
from aoray.storage.uploads import Uploads

SCHEMA_VERSION = 3
FAULT = "the log does not work"

SCHEMA = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,           -- the order of the whole shard: what the flusher follows
    process_id TEXT NOT NULL,
    nonce INTEGER NOT NULL,
    message_id TEXT NOT NULL,          -- of the process itself for nonce 0
    assignment_id TEXT NOT NULL UNIQUE,
    timestamp INTEGER NOT NULL,        -- ms, strictly increasing within a process
    item BLOB NOT NULL,
    assignment BLOB NOT NULL,
    envelope TEXT NOT NULL DEFAULT 'ans104'  -- of the item
);
CREATE UNIQUE INDEX entries_by_nonce ON entries (process_id, nonce);
CREATE UNIQUE INDEX entries_by_message ON entries (message_id, process_id);
CREATE TABLE processes (
    process_id TEXT PRIMARY KEY,
    own INTEGER NOT NULL,              -- it asked for an actor of its own
    term INTEGER NOT NULL,             -- raised by each placement
    actor TEXT NOT NULL,               -- where it is placed; '' if nowhere
    nonce INTEGER NOT NULL,            -- this and what follows: its head
    assignment_id TEXT NOT NULL,
    hash_chain TEXT NOT NULL,
    timestamp INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX processes_by_actor ON processes (actor, process_id);
CREATE TABLE shard (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    term INTEGER NOT NULL,
    block_height INTEGER NOT NULL      -- the last one that was written in an assignment
);
INSERT INTO shard VALUES (1, 0, 0);
"""
BESIDE = crontab.SCHEMA + uploads.SCHEMA + attested.SCHEMA
# A log of version 1 had two cursors in `shard` instead of uploads; the last ones had crons.
UPGRADE_FROM_1 = """
INSERT INTO uploads SELECT 1, 0, flushed, 0, 0, 1, '', '', x'', 0, 0, 0 FROM shard WHERE flushed > 0;
INSERT INTO uploads SELECT 2, flushed, planned, 0, 0, 0, '', '', x'', 0, 0, 0 FROM shard
    WHERE planned > flushed;
ALTER TABLE shard DROP COLUMN flushed;
ALTER TABLE shard DROP COLUMN planned;
"""
UPGRADES = {  # by the version that each upgrades from; existing rows are not rewritten
    1: BESIDE + UPGRADE_FROM_1,
    2: "ALTER TABLE entries ADD COLUMN envelope TEXT NOT NULL DEFAULT 'ans104';\n",
}

# Tables added without a new SCHEMA_VERSION, since earlier code works without them.
LATER_SCHEMA = decisions.SCHEMA


def script_from(version: int) -> str:
    """Return the SQL script that brings tables of this version (0: no tables) to SCHEMA_VERSION, for one
    transaction."""
    if version == 0:
        return SCHEMA + BESIDE
    return "".join(UPGRADES[each] for each in range(version, SCHEMA_VERSION))


HEAD = ("nonce", "assignment_id", "hash_chain", "timestamp")
PLACE = upsert_sql("processes", ["process_id"], ["own", "term", "actor", *HEAD])
# For a process that stays on its actor: the index by actors need not be written.
MOVE_HEAD = (
    f"UPDATE processes SET {', '.join(f'{column} = ?' for column in HEAD)} WHERE process_id = ? AND term = ?"
)


class Log(Protocol):
    """The log of one shard as its writer uses it, on any backend. It is used from one thread at a time."""

    crons: Crontab
    uploads: Uploads
    attested: Attested
    decisions: Decisions

    def upgrade(self) -> None:
        """Upgrade tables that an earlier version of aoray made."""

    def take_over(self) -> int:
        """Become the only writer: raise the term, durably, so that earlier writers are refused. Return the
        new term."""

    def block_height(self) -> int:
        """Return the last block height that an assignment has; 0 if there is none."""

    def last_timestamp(self) -> int:
        """Return the timestamp (ms) of the last entry; 0 if there is none."""

    def last_assignment(self) -> bytes | None:
        """Return the raw assignment of the last entry; None if there is none."""

    def latest_ms(self) -> int:
        """Return the highest timestamp (ms) of all processes; 0 if there is none. This reads all
        processes."""

    def processes(self, process_ids: Iterable[str]) -> dict[str, ProcessState]:
        """Return the states of those processes that exist."""

    def slots(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Slot]:
        """Return the slots of those (process id, message id) pairs that are in the log."""

    def spawned(self, process_id: str) -> tuple[SignedBytes, bytes] | None:
        """Return the spawn item of a process and the raw assignment of its nonce 0; None if there is no such
        process."""

    def append(
        self,
        entries: Sequence[LogEntry],
        changed: Mapping[str, ProcessState],
        block_height: int,
        crons: Sequence[CronState] = (),
    ) -> None:
        """Write a batch of entries, the states that they lead to, and new states of crons; on return all of
        it is on disk."""

    def counts(self) -> dict[str, int]:
        """Return the number of processes on each actor."""

    def placed(self, after: str, limit: int, actor: str | None = None) -> list[PlacedProcess]:
        """Return at most `limit` processes (of one actor, if given) after the id `after`, by id."""

    def close(self) -> None:
        """Close the log."""


class SqlLog:
    """The part of a log in SQL that all databases share. It is used from one thread at a time."""

    def __init__(self) -> None:
        self._term = -1  # no term: nothing can be written before take_over()
        self._block_height = -1  # the last height that this instance wrote
        self.crons = Crontab(self._rows, self._writing)
        self.uploads = Uploads(self._rows, self._writing)
        self.attested = Attested(self._rows, self._writing)
        self.decisions = Decisions(self._rows, self._writing)

    def _rows(self, query: str, *values: Any) -> list[Any]:
        """Return the rows that a query finds."""
        raise NotImplementedError

    def _writing(self) -> AbstractContextManager[SqlTransaction]:
        """Run one durable transaction of the holder of the term. Raises `StaleTerm`."""
        raise NotImplementedError

    def block_height(self) -> int:
        """Return the last block height that an assignment has; 0 if there is none."""
        return int(self._rows("SELECT block_height FROM shard")[0][0])

    def last_timestamp(self) -> int:
        """Return the timestamp (ms) of the last entry; 0 if there is none."""
        rows = self._rows("SELECT timestamp FROM entries ORDER BY seq DESC LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def latest_ms(self) -> int:
        """Return the highest timestamp (ms) of all processes; 0 if there is none. This reads all
        processes."""
        return int(self._rows("SELECT ifnull(max(timestamp), 0) FROM processes")[0][0])

    def last_assignment(self) -> bytes | None:
        """Return the raw assignment of the last entry; None if there is none."""
        rows = self._rows("SELECT assignment FROM entries ORDER BY seq DESC LIMIT 1")
        return bytes(rows[0][0]) if rows else None

    def processes(self, process_ids: Iterable[str]) -> dict[str, ProcessState]:
        """Return the states of those processes that exist."""
        rows = self._rows(
            "SELECT p.* FROM json_each(?) j CROSS JOIN processes p ON p.process_id = j.value",
            _json(process_ids),
        )
        return {
            process_id: ProcessState(Head(nonce, assignment_id, chain, timestamp), bool(own), term, actor)
            for process_id, own, term, actor, nonce, assignment_id, chain, timestamp in rows
        }

    def slots(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Slot]:
        """Return the slots of those (process id, message id) pairs that are in the log."""
        rows = self._rows(
            "SELECT e.process_id, e.message_id, e.assignment_id, e.nonce, e.timestamp FROM json_each(?) j"
            " CROSS JOIN entries e ON e.process_id = j.value->>0 AND e.message_id = j.value->>1",
            _json(pairs),
        )
        return {(process_id, message_id): Slot(*slot) for process_id, message_id, *slot in rows}

    def spawned(self, process_id: str) -> tuple[SignedBytes, bytes] | None:
        """Return the spawn item of a process and the raw assignment of its nonce 0; None if there is no such
        process."""
        query = "SELECT item, envelope, assignment FROM entries WHERE process_id = ? AND nonce = 0"
        rows = self._rows(query, process_id)
        return (SignedBytes(*rows[0][:2]), rows[0][2]) if rows else None

    def append(
        self,
        entries: Sequence[LogEntry],
        changed: Mapping[str, ProcessState],
        block_height: int,
        crons: Sequence[CronState] = (),
    ) -> None:
        """Write a batch of entries, the states that they lead to, and new states of crons; on return all of
        it is on disk."""
        with self._writing() as db:
            db.executemany(
                "INSERT INTO entries"
                " (process_id, nonce, message_id, assignment_id, timestamp, item, assignment, envelope)"
                " VALUES (?,?,?,?,?,?,?,?)",
                entries,
            )
            heads = [(*state.head, pid, state.term) for pid, state in changed.items() if state.head]
            if db.executemany(MOVE_HEAD, heads).rowcount < len(heads):  # one is new, or goes elsewhere
                db.executemany(
                    PLACE, [(pid, s.own, s.term, s.actor, *s.head) for pid, s in changed.items() if s.head]
                )
            if block_height > self._block_height:
                db.execute(
                    "UPDATE shard SET block_height = ? WHERE block_height < ?", [block_height, block_height]
                )
            if crons:
                advance(db, crons)
        self._block_height = max(self._block_height, block_height)

    def counts(self) -> dict[str, int]:
        """Return the number of processes on each actor."""
        return dict(self._rows("SELECT actor, count(*) FROM processes GROUP BY actor"))

    def placed(self, after: str, limit: int, actor: str | None = None) -> list[PlacedProcess]:
        """Return at most `limit` processes (of one actor, if given) after the id `after`, by id."""
        where = "process_id > ?" if actor is None else "process_id > ? AND actor = ?"
        columns = "process_id, own, term, actor, nonce"
        query = f"SELECT {columns} FROM processes WHERE {where} ORDER BY process_id LIMIT ?"
        rows = self._rows(query, *([after, limit] if actor is None else [after, actor, limit]))
        return [PlacedProcess(pid, bool(own), term, name, nonce) for pid, own, term, name, nonce in rows]


class SqliteLog(SqlLog):
    """The log in one SQLite file. It has one writer, fenced by the term, and is used from one thread at a
    time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__()
        self._path = path
        with as_unavailable(FAULT):
            self._db = sqlite3.connect(
                path, timeout=limits.SQLITE_BUSY_SECONDS_MAX, isolation_level=None, check_same_thread=False
            )
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._create()
            except BaseException:
                self._db.close()
                raise

    def _create(self) -> None:
        """Create the tables in one transaction, since readers check only `user_version`."""
        with sqlite_transaction(self._db):
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            _refuse_later(version, self._path)
            for statement in statements(LATER_SCHEMA):
                self._db.execute(statement)
            if version == 0:
                self._run_script(version)

    def _run_script(self, version: int) -> None:
        for statement in statements(script_from(version)):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def upgrade(self) -> None:
        """Upgrade tables that an earlier version of aoray made, in one transaction."""
        with as_unavailable(FAULT), sqlite_transaction(self._db):
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version < SCHEMA_VERSION:
                self._run_script(version)

    def take_over(self) -> int:
        """Become the only writer: raise the term, durably, so that earlier writers are refused. Return the
        new term."""
        self.upgrade()
        with as_unavailable(FAULT), sqlite_transaction(self._db):
            self._db.execute("UPDATE shard SET term = term + 1")
            self._term = int(self._db.execute("SELECT term FROM shard").fetchone()[0])
        return self._term

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Run one durable transaction of the holder of the term. Raises `StaleTerm`."""
        with as_unavailable(FAULT), sqlite_transaction(self._db):
            term = self._db.execute("SELECT term FROM shard").fetchone()[0]
            if term != self._term:
                raise StaleTerm("the shard has a later holder", term=self._term, held=term)
            yield self._db

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with as_unavailable(FAULT):
            return self._db.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def check_version(path: Path) -> None:
    """Raise `ClientError` if a later version of aoray made this log."""
    if not path.exists():
        return
    with as_unavailable(FAULT), closing(sqlite3.connect(path, timeout=limits.SQLITE_BUSY_SECONDS_MAX)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
    _refuse_later(version, path)


def _refuse_later(version: int, path: Path) -> None:
    if version > SCHEMA_VERSION:
        raise ClientError(
            f"{path} was made by a later version of aoray (its tables have version {version}; this one knows"
            f" {SCHEMA_VERSION})",
            hint="Start that version on it, or use another --data. Nothing in it was changed.",
        )


def _json(values: Iterable[object]) -> str:
    return orjson.dumps(list(values)).decode()
