"""The durable log of one shard: every process's ordered entries, the terms that fence writers, and what is
to be brought to Arweave (`scheduler.uploads`) and attested (`scheduler.attested`).

Where in a message's journey: the shard appends one batch in one transaction, and nobody is told of a message
before that transaction is on the disk (WAL, `synchronous=FULL`). Gateways and process actors read it through
`aoray.scheduler.reader` on connections of their own.

Invariants, kept by the schema as well as by the rules: a process has each nonce once and each message once;
an assignment id occurs once; `processes` holds exactly the head of what `entries` holds. Whoever writes holds
a *term*, taken with `take_over()`; each write checks it inside its transaction, so a shard that was replaced
can never write again (`StaleTerm`).

On failure: `StaleTerm` means stop; any other fault of the disk is `Unavailable`, nothing of the batch is in
the log, and the caller opens the log anew before it goes on (after a failed fsync, a connection can't be
trusted).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from aoray.errors import ClientError, StaleTerm, Unavailable
from aoray.protocol.assignments import Head, LogEntry
from aoray.scheduler import attested, crontab, decisions, uploads
from aoray.scheduler.attested import Attested
from aoray.scheduler.crontab import CronState, Crontab, advance
from aoray.scheduler.decisions import Decisions
from aoray.scheduler.uploads import Uploads
from aoray.sql import Transaction, replacing

SCHEMA_VERSION = 2
BUSY_SECONDS = 30.0

SCHEMA = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,           -- the order of the whole shard: what the flusher follows
    process_id TEXT NOT NULL,
    nonce INTEGER NOT NULL,
    message_id TEXT NOT NULL,          -- of the process itself for nonce 0
    assignment_id TEXT NOT NULL UNIQUE,
    timestamp INTEGER NOT NULL,        -- ms, strictly increasing within a process
    item BLOB NOT NULL,
    assignment BLOB NOT NULL
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
# A log of version 1 had two cursors in `shard` instead of uploads; the last ones had crons.
UPGRADE_FROM_1 = """
INSERT INTO uploads SELECT 1, 0, flushed, 0, 0, 1, '', '', x'', 0, 0, 0 FROM shard WHERE flushed > 0;
INSERT INTO uploads SELECT 2, flushed, planned, 0, 0, 0, '', '', x'', 0, 0, 0 FROM shard
    WHERE planned > flushed;
ALTER TABLE shard DROP COLUMN flushed;
ALTER TABLE shard DROP COLUMN planned;
"""


# Tables that came later, and that an aoray of the same version without them can do without.
LATER_SCHEMA = decisions.SCHEMA

HEAD = ("nonce", "assignment_id", "hash_chain", "timestamp")
PLACE = replacing("processes", ["process_id"], ["own", "term", "actor", *HEAD])
# A process that stays where it is: nothing to write in the index by actors.
MOVE_HEAD = (
    f"UPDATE processes SET {', '.join(f'{column} = ?' for column in HEAD)} WHERE process_id = ? AND term = ?"
)


class ProcessState(NamedTuple):
    """What the scheduler knows of a process: its head, and where it is placed."""

    head: Head | None = None
    own: bool = False
    term: int = 0
    actor: str = ""


class Slot(NamedTuple):
    """Where a message is in a process's log."""

    assignment_id: str
    nonce: int
    timestamp: int


class Placed(NamedTuple):
    """A process with its actor, term and last nonce, as a page of `placed` has it."""

    process_id: str
    own: bool
    term: int
    actor: str
    nonce: int


class Log(Protocol):
    """What a shard needs of its log, so that another store can take SQLite's place. One thread at a time."""

    crons: Crontab
    uploads: Uploads
    attested: Attested
    decisions: Decisions

    def take_over(self) -> int: ...
    def block_height(self) -> int: ...
    def last_timestamp(self) -> int: ...
    def last_assignment(self) -> bytes | None: ...
    def latest_ms(self) -> int: ...
    def processes(self, process_ids: Iterable[str]) -> dict[str, ProcessState]: ...
    def slots(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Slot]: ...
    def spawned(self, process_id: str) -> tuple[bytes, bytes] | None: ...
    def append(
        self,
        entries: Sequence[LogEntry],
        changed: Mapping[str, ProcessState],
        block_height: int,
        crons: Sequence[CronState] = (),
    ) -> None: ...
    def counts(self) -> dict[str, int]: ...
    def placed(self, after: str, limit: int, actor: str | None = None) -> list[Placed]: ...
    def close(self) -> None: ...


class SqlLog:
    """What the logs in SQL have in common. Used from one thread at a time."""

    def __init__(self) -> None:
        self._term = -1  # nobody's: nothing can be written before take_over()
        self._block_height = -1  # the last that was written from here
        self.crons = Crontab(self._rows, self._writing)
        self.uploads = Uploads(self._rows, self._writing)
        self.attested = Attested(self._rows, self._writing)
        self.decisions = Decisions(self._rows, self._writing)

    def _rows(self, query: str, *values: Any) -> list[Any]:
        """What a query finds."""
        raise NotImplementedError

    def _writing(self) -> AbstractContextManager[Transaction]:
        """One durable transaction of the holder of the term."""
        raise NotImplementedError

    def block_height(self) -> int:
        """The last block height that was used."""
        return int(self._rows("SELECT block_height FROM shard")[0][0])

    def last_timestamp(self) -> int:
        """When the last entry was ordered; 0 if there is none."""
        rows = self._rows("SELECT timestamp FROM entries ORDER BY seq DESC LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def latest_ms(self) -> int:
        """The highest timestamp of all processes; 0 if there is none. Reads all of them."""
        return int(self._rows("SELECT ifnull(max(timestamp), 0) FROM processes")[0][0])

    def last_assignment(self) -> bytes | None:
        """The last entry's, as an item; None if there is none."""
        rows = self._rows("SELECT assignment FROM entries ORDER BY seq DESC LIMIT 1")
        return bytes(rows[0][0]) if rows else None

    def processes(self, process_ids: Iterable[str]) -> dict[str, ProcessState]:
        """The states of those processes that exist."""
        rows = self._rows(
            "SELECT p.* FROM json_each(?) j CROSS JOIN processes p ON p.process_id = j.value",
            _json(process_ids),
        )
        return {
            process_id: ProcessState(Head(nonce, assignment_id, chain, timestamp), bool(own), term, actor)
            for process_id, own, term, actor, nonce, assignment_id, chain, timestamp in rows
        }

    def slots(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Slot]:
        """Where those (process, message) pairs are that were scheduled before."""
        rows = self._rows(
            "SELECT e.process_id, e.message_id, e.assignment_id, e.nonce, e.timestamp FROM json_each(?) j"
            " CROSS JOIN entries e ON e.process_id = j.value->>0 AND e.message_id = j.value->>1",
            _json(pairs),
        )
        return {(process_id, message_id): Slot(*slot) for process_id, message_id, *slot in rows}

    def spawned(self, process_id: str) -> tuple[bytes, bytes] | None:
        """The item of a process, and its own assignment."""
        query = "SELECT item, assignment FROM entries WHERE process_id = ? AND nonce = 0"
        return next(iter(self._rows(query, process_id)), None)

    def append(
        self,
        entries: Sequence[LogEntry],
        changed: Mapping[str, ProcessState],
        block_height: int,
        crons: Sequence[CronState] = (),
    ) -> None:
        """Write a batch and the states it leads to; on return it is on the disk."""
        with self._writing() as db:
            db.executemany(
                "INSERT INTO entries"
                " (process_id, nonce, message_id, assignment_id, timestamp, item, assignment)"
                " VALUES (?,?,?,?,?,?,?)",
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
        """How many processes are on each actor."""
        return dict(self._rows("SELECT actor, count(*) FROM processes GROUP BY actor"))

    def placed(self, after: str, limit: int, actor: str | None = None) -> list[Placed]:
        """A page of the processes (of one actor) in the order of their ids."""
        where = "process_id > ?" if actor is None else "process_id > ? AND actor = ?"
        columns = "process_id, own, term, actor, nonce"
        query = f"SELECT {columns} FROM processes WHERE {where} ORDER BY process_id LIMIT ?"
        rows = self._rows(query, *([after, limit] if actor is None else [after, actor, limit]))
        return [Placed(pid, bool(own), term, name, nonce) for pid, own, term, name, nonce in rows]


class SqliteLog(SqlLog):
    """The log in one SQLite file. One writer, fenced by its term; used from one thread at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__()
        with _as_unavailable():
            self._db = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._create()
            except BaseException:
                self._db.close()
                raise

    def _create(self) -> None:
        """Make the tables, whole or not at all: readers go by `user_version`."""
        with _transaction(self._db):
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            for statement in LATER_SCHEMA.split(";\n"):
                self._db.execute(statement)
            if version == SCHEMA_VERSION:
                return
            added = crontab.SCHEMA + uploads.SCHEMA + attested.SCHEMA
            script = added + UPGRADE_FROM_1 if version == 1 else SCHEMA + added
            for statement in script.split(";\n"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def take_over(self) -> int:
        """Become the one writer: raises the term, durably; every earlier writer is refused from now on."""
        with _as_unavailable(), _transaction(self._db):
            self._db.execute("UPDATE shard SET term = term + 1")
            self._term = int(self._db.execute("SELECT term FROM shard").fetchone()[0])
        return self._term

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction of the holder of the term."""
        with _as_unavailable(), _transaction(self._db):
            term = self._db.execute("SELECT term FROM shard").fetchone()[0]
            if term != self._term:
                raise StaleTerm("the shard has a later holder", term=self._term, held=term)
            yield self._db

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with _as_unavailable():
            return self._db.execute(query, values).fetchall()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def check_version(path: Path) -> None:
    """ClientError if a log was made by a later aoray, which alone knows what is in it."""
    if not path.exists():
        return
    with _as_unavailable(), closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise ClientError(
            f"{path} was made by a later aoray (version {version} of its tables; this one knows"
            f" {SCHEMA_VERSION})",
            hint="Start that aoray on it, or give this one another --data. Nothing in it was changed.",
        )


@contextmanager
def _as_unavailable() -> Iterator[None]:
    """A fault of the disk or of SQLite as the error that callers know."""
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"the log does not work: {error}", hint="Is the disk full?") from error


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _json(values: Iterable[object]) -> str:
    return orjson.dumps(list(values)).decode()
