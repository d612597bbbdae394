"""The results, the deliveries and the index of checkpoints in PostgreSQL, for all nodes of a cluster.

The tables and rules are those of `storage.results`. A process's term is checked under a row lock that is held
until the rows are durable. So a successor's `claim` waits for the transaction that its predecessor is in, and
what it reads afterwards does not change. Commits are as durable as the log's, because here actors outlive a
crash of the server, and would not know which results it lost.

Several writers commit at the same time, so rows do not become visible in the order of any number in them.
`Mark` therefore counts transactions: `written_since` returns what was written by transactions that have all
ended, and leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aoray.storage.deliveries import SCHEMA as DELIVERIES_SCHEMA
from aoray.storage.postgres import Database, StoreUrl
from aoray.storage.records import Mark, ResultRow
from aoray.storage.results import DIVERGED_SCHEMA, SCHEMA, Results
from aoray.storage.sql import SqlTransaction

SCHEMA_VERSION = 1
BY_ID = """
CREATE INDEX IF NOT EXISTS results_by_message ON results (message_id, process_id);
CREATE INDEX IF NOT EXISTS results_by_assignment ON results (assignment_id);
"""
WRITTEN = """
ALTER TABLE {table} ADD COLUMN written INTEGER NOT NULL DEFAULT (pg_current_xact_id()::text::bigint);
CREATE INDEX {table}_by_time ON {table} (written, process_id);
"""
TERMS = "SELECT process_id, term FROM terms WHERE process_id = ANY(?) ORDER BY process_id FOR NO KEY UPDATE"
RAISE = """
INSERT INTO terms VALUES (?, ?)
ON CONFLICT (process_id) DO UPDATE SET term = greatest(terms.term, excluded.term) RETURNING term
"""
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))"
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(?, 0))"
OVER = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


class ResultsDatabase(Database):
    """A connection to the results in PostgreSQL; a `storage.results.ResultsBackend`."""

    def __init__(self, url: StoreUrl, *, is_made: bool = False) -> None:
        super().__init__(url, url.schema)
        if is_made:
            return
        script = SCHEMA + DELIVERIES_SCHEMA + BY_ID
        written = "".join(WRITTEN.format(table=table) for table in Mark._fields)
        try:
            self.create(script + written, SCHEMA_VERSION)
            with self.transaction() as db:
                db.execute(DIVERGED_SCHEMA.strip().removesuffix(";"))
        except BaseException:
            self.close()
            raise

    def stale(self, db: SqlTransaction, term_of: Mapping[str, int]) -> set[str]:
        """Return which of these processes have a later term. The others stay locked until the transaction
        ends."""
        held: dict[str, int] = dict(db.execute(TERMS, [list(term_of)]).fetchall())
        for process_id, term in sorted(term_of.items()):
            if held.get(process_id, -1) < term:
                held[process_id] = db.execute(RAISE, [process_id, term]).fetchone()[0]
        return {process_id for process_id, term in term_of.items() if held[process_id] > term}

    def guard(self, db: SqlTransaction, file: str, *, wait: bool = True) -> bool:
        """Lock a checkpoint file, so that no other writer indexes or removes it until the transaction ends.
        Without `wait`, return False if another writer has the lock."""
        locked = db.execute(LOCK if wait else TRY_LOCK, [f"{self._schema} {file}"]).fetchone()[0]
        return wait or bool(locked)


class PostgresResults(Results):
    """One OS process's access to the results in PostgreSQL. Threads may share it; one reads and one writes at
    a time."""

    def __init__(self, url: StoreUrl) -> None:
        self._use(ResultsDatabase(url), ResultsDatabase(url, is_made=True))  # made when it writes

    def get(self, process_id: str, any_id: str) -> ResultRow | None:
        """Return the result of a message, by its id or its assignment's id. Indices of the results find it,
        since the log would take a round trip too."""
        return self._one("message_id = ? AND process_id = ?", any_id, process_id) or self._one(
            "assignment_id = ? AND process_id = ?", any_id, process_id
        )

    def checkpoint_wal(self) -> None:
        """Do nothing, since the server writes back its own WAL."""

    def mark(self) -> Mark:
        """Return a mark before the first transaction that has not ended."""
        over = self._value(OVER)
        return Mark(over, over)

    def written_since(self, mark: Mark) -> tuple[set[str], Mark]:
        """Return the processes with results or states written since a mark, and the next mark."""
        now = self.mark()
        found: set[str] = set()
        for table, since, over in zip(Mark._fields, mark, now, strict=True):
            query = f"SELECT DISTINCT process_id FROM {table} WHERE written >= ? AND written < ?"
            found.update(process_id for (process_id,) in self._reads.rows(query, since, over))
        return found, now

    def _value(self, query: str, *values: Any) -> Any:
        rows = self._reads.rows(query, *values)
        return rows[0][0] if rows else None
