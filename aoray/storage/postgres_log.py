"""A shard's log in PostgreSQL, for its writer and for readers on all nodes of a cluster.

The tables and rules are those of `storage.log` and `storage.log_reader`, in a schema for each shard. Each
transaction checks the term under a row lock that it holds to its end. So two holders of a shard never both
write, and a successor's `take_over` waits for the transaction that its predecessor is in. Since there is one
writer at a time, `seq` rises in the order of the commits, as readers expect; unlike SQLite's it may skip
numbers. On failure: as in those modules.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import psycopg

from aoray import limits
from aoray.errors import StaleTerm, Unavailable
from aoray.protocol.assignments import LogEntry
from aoray.storage.log import LATER_SCHEMA, SCHEMA_VERSION, SqlLog, script_from
from aoray.storage.log_reader import COLUMNS, LogPage, LogReader
from aoray.storage.postgres import Database, StoreUrl, connect, lost, to_postgres
from aoray.storage.sql import SqlTransaction, statements


def schema_of(url: StoreUrl, index: int) -> str:
    """Return the name of the schema of a shard's log."""
    return f"{url.schema}_log_{index}"


class PostgresLog(SqlLog):
    """The log in PostgreSQL. It has one writer, fenced by the term, and is used from one thread at a time."""

    def __init__(self, url: StoreUrl, index: int) -> None:
        super().__init__()
        self._db = Database(url, schema_of(url, index))
        try:
            self._db.create(script_from(0), SCHEMA_VERSION)
            with self._db.transaction() as db:
                for statement in statements(LATER_SCHEMA):
                    db.execute(statement)
        except BaseException:
            self._db.close()
            raise

    def upgrade(self) -> None:
        """Upgrade tables that an earlier version of aoray made, in one transaction."""
        self._db.upgrade(script_from, SCHEMA_VERSION)

    def take_over(self) -> int:
        """Become the only writer: raise the term, durably, so that earlier writers are refused. Return the
        new term."""
        self.upgrade()
        with self._db.transaction() as db:
            term = int(db.execute("UPDATE shard SET term = term + 1 RETURNING term").fetchone()[0])
        self._term = term
        return term

    @contextmanager
    def _writing(self) -> Iterator[SqlTransaction]:
        with self._db.transaction() as db:
            term = db.execute("SELECT term FROM shard FOR NO KEY UPDATE").fetchone()[0]
            if term != self._term:
                raise StaleTerm("the shard has a later holder", term=self._term, held=term)
            yield db

    def _rows(self, query: str, *values: Any) -> list[Any]:
        return self._db.rows(query, *values)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


class PostgresReader(LogReader):
    """The reader of one shard's log in PostgreSQL. Threads share STORE_READERS_MAX connections, and wait for
    one (bounded)."""

    def __init__(self, url: StoreUrl, index: int) -> None:
        self._url = url
        self._schema = schema_of(url, index)
        self._idle: list[psycopg.Connection[Any]] = []
        self._turns = threading.BoundedSemaphore(limits.STORE_READERS_MAX)

    def _rows(self, query: str, *values: Any) -> list[Any]:
        if not self._turns.acquire(timeout=limits.STORE_STATEMENT_SECONDS_MAX):
            raise Unavailable(f"the log {self._schema} has too many readers")
        try:
            return self._ask(to_postgres(query), values)
        except psycopg.Error as error:
            raise Unavailable(f"the log {self._schema} can't be read: {str(error).strip()}") from error
        finally:
            self._turns.release()

    def _ask(self, query: str, values: Sequence[Any]) -> list[Any]:
        """Run a query on a free connection, or on a new one if that was lost. Return nothing if the log does
        not exist yet."""
        while (db := self._take_idle()) is not None:
            try:
                return self._on(db, query, values)
            except psycopg.OperationalError as error:
                if not lost(error):
                    raise
        db = self._connect()
        return [] if db is None else self._on(db, query, values)

    def _take_idle(self) -> psycopg.Connection[Any] | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _on(self, db: psycopg.Connection[Any], query: str, values: Sequence[Any]) -> list[Any]:
        try:
            rows = db.execute(query, values).fetchall()
        except BaseException:
            db.close()
            raise
        self._idle.append(db)
        return rows

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> psycopg.Connection[Any] | None:
        db = connect(self._url, self._schema)
        made = db.execute("SELECT to_regclass(%s)", [f"{self._schema}.version"]).fetchone()
        if made and made[0]:
            version = db.execute("SELECT version FROM version").fetchone()
            if version and version[0] == SCHEMA_VERSION:
                return db
        db.close()
        return None

    def _page(self, where: str, values: Sequence[Any], limit: int) -> LogPage:
        """Return a page. The sizes are read first, so that no more than a page comes over the network."""
        size = "length(item) + length(assignment)"
        sizes = self._rows(f"SELECT {size} FROM entries WHERE {where} LIMIT ?", *values, limit + 1)
        total = accumulate(size for (size,) in sizes[:limit])
        fitting = sum(each <= limits.LOG_PAGE_BYTES_MAX for each in total) or min(1, len(sizes))
        rows = self._rows(f"SELECT {COLUMNS} FROM entries WHERE {where} LIMIT ?", *values, fitting)
        return LogPage((LogEntry(*row) for row in rows), more=len(sizes) > fitting)
