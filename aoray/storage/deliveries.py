"""Deliveries: what became of each outbox message, in rows beside the results.

The process actor or the messenger writes here after it tried to push an outbox. The outbox itself is durable
before that, as part of its result; so an outbox that was never tried needs no rows: its messages are pending,
and are read from the result. A message without an outbox costs nothing here, and an outbox message that is
delivered at the first attempt is written once, in the transaction that marks its result as pushed.

Invariants
* The key is (process, nonce, place). `place` counts through the result's `Messages`, then its `Spawns`, then
  its `Assignments` (one for each process assigned to).
* A result has either no rows, or one for each message of its outbox. It is marked as pushed once none is
  pending.
* A final state never becomes pending again, and a delivered message stays delivered, whatever a later attempt
  reports; a `dead` message may still be delivered by hand.

On failure: as in `storage.results`; nothing of the batch was written.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from aoray.storage.records import STATES, Delivery, DeliveryState, Settlement
from aoray.storage.sql import SqlTransaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    process_id TEXT NOT NULL, nonce INTEGER NOT NULL, place INTEGER NOT NULL, kind TEXT NOT NULL,
    state TEXT NOT NULL, item_id TEXT NOT NULL, target TEXT NOT NULL, attempts INTEGER NOT NULL,
    error TEXT NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    PRIMARY KEY (process_id, nonce, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_amiss ON deliveries (process_id, state, nonce, place)
    WHERE state <> 'delivered';
"""


COLUMNS = ", ".join(Delivery._fields)
UPSERT = f"""
INSERT INTO deliveries ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (process_id, nonce, place) DO UPDATE SET state = excluded.state, item_id = excluded.item_id,
    attempts = excluded.attempts, error = excluded.error, first_ms = excluded.first_ms,
    last_ms = excluded.last_ms
WHERE deliveries.state = 'pending' OR excluded.state IN ('delivered', 'uploaded')
    OR deliveries.state IN ('skipped', 'dead') AND excluded.state <> 'pending'
"""


class DeliveriesConnection(Protocol):
    """The methods of a connection that deliveries use (`storage.results`)."""

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return the rows that a query finds."""

    def transaction(self) -> AbstractContextManager[SqlTransaction]:
        """Run a durable transaction, which is written completely or not at all."""


class Deliveries:
    """The rows of deliveries, on the connections of the results store."""

    def __init__(self, reads: DeliveriesConnection, writes: DeliveriesConnection) -> None:
        self._reads = reads
        self._writes = writes

    def settle(self, settlements: Iterable[Settlement]) -> None:
        """Write the outcomes of attempts, and mark results without pending messages as pushed, in one
        transaction."""
        listed = sorted(settlements, key=lambda each: each[:2])  # so two writers can't deadlock
        with self._writes.transaction() as db:
            db.executemany(UPSERT, (delivery for each in listed for delivery in each.deliveries))
            done = [(each.process_id, each.nonce) for each in listed if each.done]
            db.executemany("UPDATE results SET pushed = 1 WHERE process_id = ? AND nonce = ?", done)

    def of(self, process_id: str, nonce: int) -> list[Delivery]:
        """Return the deliveries of one result, in order."""
        return self._many("process_id = ? AND nonce = ? ORDER BY place", process_id, nonce)

    def page(
        self, process_id: str, after: tuple[int, int], to_nonce: int, state: DeliveryState | None, limit: int
    ) -> list[Delivery]:
        """Return at most `limit` deliveries of a process, in order, after a (nonce, index) and up to
        `to_nonce`; only those in `state`, if given."""
        # The state is part of the query's text, since SQLite uses the partial index only for constants.
        assert state is None or state in STATES
        amiss = "" if state == "delivered" else " AND state <> 'delivered'"
        only = f" AND state = '{state}'{amiss}" if state else ""
        where = (
            f"process_id = ?{only} AND (nonce, place) > (?, ?) AND nonce <= ? ORDER BY nonce, place LIMIT ?"
        )
        return self._many(where, process_id, *after, to_nonce, limit)

    def untried(self, process_id: str, from_nonce: int, to_nonce: int, limit: int) -> list[int]:
        """Return the nonces of results with an outbox that nobody has tried to push yet."""
        rows = self._reads.rows(
            "SELECT nonce FROM results AS r WHERE process_id = ? AND pushed = 0 AND nonce BETWEEN ? AND ?"
            " AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.process_id = r.process_id"
            " AND d.nonce = r.nonce) ORDER BY nonce LIMIT ?",
            *(process_id, from_nonce, to_nonce, limit),
        )
        return [row[0] for row in rows]

    def _many(self, where: str, *values: Any) -> list[Delivery]:
        rows = self._reads.rows(f"SELECT {COLUMNS} FROM deliveries WHERE {where}", *values)
        return [Delivery(*row) for row in rows]
