"""The crontab: which processes are monitored, and when the next tick of each of their crons is due. Tables of
a log.

The tables are in the log's database, so that a tick's slot and the state that records the tick are one
commit, and writing is fenced by the log's term. `crons` has rows only for processes that are monitored.

Crons are started and stopped by orders: signed items of the process's owner, which anybody may keep and send
again. Therefore an item is valid for one start or stop; its use is recorded in the same commit, in a table
that is created when it is first needed. After `CRON_ORDERS_MAX` recorded orders the crons of a process can't
be started any more, but can still be stopped.

On failure: `ClientError` for an order that was used before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from aoray import limits
from aoray.errors import ClientError, TooLarge
from aoray.protocol.cron import Unit
from aoray.storage.sql import SqlTransaction, Tables

SCHEMA = """
CREATE TABLE IF NOT EXISTS monitors (process_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS crons (
    process_id TEXT NOT NULL,
    place INTEGER NOT NULL,            -- which of the process's crons
    unit TEXT NOT NULL,                -- of step and next: ms or blocks
    step INTEGER NOT NULL,
    next INTEGER NOT NULL,             -- when its next tick is due
    message_id TEXT NOT NULL,          -- of its last tick; '' before the first
    PRIMARY KEY (process_id, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS crons_by_next ON crons (unit, next);
"""

ORDERS = """CREATE TABLE IF NOT EXISTS cron_orders (
    process_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    PRIMARY KEY (process_id, item_id)
) WITHOUT ROWID"""


class CronState(NamedTuple):
    """A cron of a monitored process: when its next tick is due, and its last tick."""

    process_id: str
    place: int
    unit: Unit
    step: int
    next: int
    message_id: str


class Crontab(Tables):
    """The tables of crons: reading, and writing under the log's term."""

    def monitor(self, process_id: str, states: Iterable[CronState], order: str) -> bool:
        """Mark a process as monitored, and store its crons. Return False if it is monitored already; then
        nothing changes."""
        with self._writing() as db:
            fresh = _use(db, process_id, order)
            done = db.execute("INSERT OR IGNORE INTO monitors VALUES (?)", [process_id])
            added = bool(done.rowcount == 1)
            if added:
                if fresh is None:
                    raise TooLarge(
                        f"the crons of {process_id} were started and stopped too often", process_id=process_id
                    )
                _check_fresh(fresh, process_id, order)
                db.executemany("INSERT INTO crons VALUES (?,?,?,?,?,?)", states)
        return added

    def unmonitor(self, process_id: str, order: str) -> bool:
        """End the monitoring of a process. Return False if it was not monitored."""
        with self._writing() as db:
            fresh = _use(db, process_id, order)
            db.execute("DELETE FROM crons WHERE process_id = ?", [process_id])
            done = db.execute("DELETE FROM monitors WHERE process_id = ?", [process_id])
            removed = bool(done.rowcount == 1)
            if removed:
                _check_fresh(fresh, process_id, order)
        return removed

    def is_monitored(self, process_id: str) -> bool:
        """Return whether the crons of a process run."""
        return bool(self._rows("SELECT 1 FROM monitors WHERE process_id = ?", process_id))

    def of(self, process_id: str) -> list[CronState]:
        """Return the crons of one process, in the order of its tags."""
        return self._states("process_id = ? ORDER BY place", process_id)

    def due(self, unit: Unit, now: int, limit: int) -> list[CronState]:
        """Return at most `limit` crons that are due, the longest due first. `now` is in `unit`: ms or
        blocks."""
        return self._states("unit = ? AND next <= ? ORDER BY next LIMIT ?", unit, now, limit)

    def ahead(self, now_ms: int, limit: int) -> list[CronState]:
        """Return at most `limit` crons that are due more than one step from now, which happens only after the
        clock went back."""
        return self._states("unit = 'ms' AND next - step > ? LIMIT ?", now_ms, limit)

    def next_ms(self) -> int | None:
        """Return when the next cron that goes by the clock is due (Unix time in ms); None if there is
        none."""
        found = self._rows("SELECT min(next) FROM crons WHERE unit = 'ms'")[0][0]
        return None if found is None else int(found)

    def counts(self) -> tuple[int, int]:
        """Return the number of monitored processes and the number of their crons."""
        query = "SELECT (SELECT count(*) FROM monitors), (SELECT count(*) FROM crons)"
        monitored, crons = self._rows(query)[0]
        return int(monitored), int(crons)

    def _states(self, where: str, *values: Any) -> list[CronState]:
        columns = ", ".join(CronState._fields)
        return [CronState(*row) for row in self._rows(f"SELECT {columns} FROM crons WHERE {where}", *values)]


def advance(db: SqlTransaction, states: Sequence[CronState]) -> None:
    """Write the new states of crons within another transaction."""
    db.executemany(
        "UPDATE crons SET next = ?, message_id = ? WHERE process_id = ? AND place = ?",
        [(state.next, state.message_id, state.process_id, state.place) for state in states],
    )


def _use(db: SqlTransaction, process_id: str, order: str) -> bool | None:
    """Record an order. Return whether it is new; None if too many orders are recorded already."""
    db.execute(ORDERS)
    used = "SELECT 1 FROM cron_orders WHERE process_id = ? AND item_id = ?"
    if db.execute(used, [process_id, order]).fetchone():
        return False
    [count] = db.execute("SELECT count(*) FROM cron_orders WHERE process_id = ?", [process_id]).fetchone()
    if count >= limits.CRON_ORDERS_MAX:
        return None
    db.execute("INSERT INTO cron_orders VALUES (?, ?)", [process_id, order])
    return True


def _check_fresh(fresh: bool | None, process_id: str, order: str) -> None:
    if fresh is False:
        raise ClientError(
            f"{order} was used before to start or stop crons",
            hint="Sign another item for it (with an anchor of its own, if the key signs deterministically).",
            process_id=process_id,
        )
