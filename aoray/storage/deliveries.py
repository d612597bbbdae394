"""What became of every outbox message: a row for each, kept beside the results.

Whoever tried to push an outbox writes here: its actor, or the messenger. An outbox is durable before that,
since it is in its result, so one that was never tried needs no row: it is pending, and made from the result
when somebody asks. So a message without an outbox costs nothing here, and one that is delivered at the first
try is written once, in the transaction that marks its result as pushed.

Invariants
* Keyed by (process, nonce, place): the index in the result's `Messages`, and after those in its `Spawns`,
  and after those in its `Assignments` (one for each process assigned to).
* A result has no rows, or one for each of its outbox. It is marked as pushed once none is pending.
* What is final never becomes pending again, and what has arrived stays so, whatever a later attempt comes to;
  a `dead` one may yet be delivered, by hand.

On failure: as `storage.results`; nothing of the batch was written.
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
    """The connection that deliveries need, as `storage.results` has it."""

    def rows(self, query: str, *values: Any) -> list[Any]: ...
    def transaction(self) -> AbstractContextManager[SqlTransaction]: ...


class Deliveries:
    """The delivery rows, on the connections of the results store."""

    def __init__(self, reads: DeliveriesConnection, writes: DeliveriesConnection) -> None:
        self._reads = reads
        self._writes = writes

    def settle(self, settlements: Iterable[Settlement]) -> None:
        """Write the outcome of attempts, and mark the results whose outbox is done, in one transaction."""
        listed = sorted(settlements, key=lambda each: each[:2])  # two who write take rows in one order
        with self._writes.transaction() as db:
            db.executemany(UPSERT, (delivery for each in listed for delivery in each.deliveries))
            done = [(each.process_id, each.nonce) for each in listed if each.done]
            db.executemany("UPDATE results SET pushed = 1 WHERE process_id = ? AND nonce = ?", done)

    def of(self, process_id: str, nonce: int) -> list[Delivery]:
        """Return the deliveries of a result, in order."""
        return self._many("process_id = ? AND nonce = ? ORDER BY place", process_id, nonce)

    def page(
        self, process_id: str, after: tuple[int, int], to_nonce: int, state: DeliveryState | None, limit: int
    ) -> list[Delivery]:
        """Return the deliveries of a process in order, after a (nonce, index); those of one state, if one
        is named."""
        # The states go in as text, not as values: else SQLite does not see that the partial index serves.
        assert state is None or state in STATES
        amiss = "" if state == "delivered" else " AND state <> 'delivered'"
        only = f" AND state = '{state}'{amiss}" if state else ""
        where = (
            f"process_id = ?{only} AND (nonce, place) > (?, ?) AND nonce <= ? ORDER BY nonce, place LIMIT ?"
        )
        return self._many(where, process_id, *after, to_nonce, limit)

    def untried(self, process_id: str, from_nonce: int, to_nonce: int, limit: int) -> list[int]:
        """Return the slots whose outboxes have no deliveries yet, since nobody has begun to push them."""
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
