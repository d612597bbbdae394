"""The operator's decisions to stop and resume processes: a table in a shard's log.

A decision is a statement signed by the scheduler's key (`protocol.decisions`). The last decision about each
process is stored in one commit with the placement that it changes, under the log's term, so it survives a
restart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from aoray.protocol.signed import ANS104, parse
from aoray.storage.sql import Tables, upsert_sql

SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    process_id TEXT PRIMARY KEY,
    stopped INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,        -- ms: when it was decided
    item BLOB NOT NULL                 -- the signed statement
) WITHOUT ROWID;
"""
COLUMNS = ("process_id", "stopped", "timestamp", "item")
KEEP = upsert_sql("decisions", ["process_id"], list(COLUMNS[1:]))


class Decision(NamedTuple):
    """The last decision about a process."""

    process_id: str
    stopped: bool
    timestamp: int  # milliseconds
    item: bytes


def describe(decision: Decision) -> dict[str, Any]:
    """Return a decision as the JSON that clients get."""
    return {
        "process": decision.process_id,
        "stopped": decision.stopped,
        "since": decision.timestamp,
        "decision": parse(decision.item, ANS104).id,
    }


class Decisions(Tables):
    """The table of decisions: reading, and writing under the log's term."""

    def stopped(self) -> set[str]:
        """Return the ids of the processes that are stopped."""
        rows = self._rows("SELECT process_id FROM decisions WHERE stopped = 1")
        return {process_id for (process_id,) in rows}

    def last(self, process_id: str) -> Decision | None:
        """Return the last decision about a process; None if there is none."""
        rows = self._rows(f"SELECT {', '.join(COLUMNS)} FROM decisions WHERE process_id = ?", process_id)
        return next((Decision(pid, bool(stopped), at, bytes(item)) for pid, stopped, at, item in rows), None)

    def keep(self, decision: Decision) -> int:
        """Store a decision, and return the process's new term. A process that is stopped is on no actor from
        then on, and no actor holds that term."""
        with self._writing() as db:
            process_id, stopped, timestamp, item = decision
            db.execute(KEEP, [process_id, int(stopped), timestamp, item])
            if decision.stopped:
                db.execute(
                    "UPDATE processes SET actor = '', term = term + 1 WHERE process_id = ?",
                    [process_id],
                )
            found = db.execute("SELECT term FROM processes WHERE process_id = ?", [process_id])
            return int(found.fetchone()[0])
