"""What Arweave lists of one process, in tables on disk: who claims which nonce, and what is attested of it.

Between what asks a gateway (verify/source.py) and what judges (verify/replay.py, verify/rules.py): pages come
in any order, and are read in that of the nonces. Nothing here is believed: a claim is what a gateway says
until its item was verified. Memory holds a page, however long the log is.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from aoray import limits
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.assignments import LogEntry
from aoray.protocol.attestations import Statement
from aoray.verify.rules import AttestedSlot, Claim

if TYPE_CHECKING:
    from aoray.verify.workers import CheckedSlot

TABLES = (
    "CREATE TABLE claim (nonce INTEGER, assignment TEXT, bundle TEXT, rank INTEGER, block INTEGER,"
    " PRIMARY KEY (nonce, assignment))",
    "CREATE TABLE slot (nonce INTEGER PRIMARY KEY, message TEXT UNIQUE)",
    "CREATE TABLE said (nonce INTEGER, message TEXT, result TEXT, state TEXT, item TEXT, owner TEXT,"
    " until_ms INTEGER)",
    "CREATE INDEX said_of ON said (nonce)",
)


class ClaimTable:
    """The claims that were listed, by nonce, on disk (SQLite's own temporary file)."""

    def __init__(self) -> None:
        self._sqlite = sqlite3.connect("", isolation_level=None)
        self._sqlite.execute("PRAGMA journal_mode = OFF")
        for statement in TABLES:
            self._sqlite.execute(statement)

    def close(self) -> None:
        self._sqlite.close()

    def add(self, claim: Claim) -> None:
        """Store a claim, beside others of its nonce."""
        row = (claim.nonce, claim.assignment_id, claim.bundle, claim.rank, claim.block)
        self._sqlite.execute("INSERT OR IGNORE INTO claim VALUES (?, ?, ?, ?, ?)", row)

    def drop(self, nonce: int, assignment_id: str) -> None:
        """Remove a claim that turned out not to be one."""
        self._sqlite.execute("DELETE FROM claim WHERE nonce = ? AND assignment = ?", (nonce, assignment_id))

    def first_of(self, rank: int) -> tuple[int, str] | None:
        """Return the lowest nonce that a signer of this place in the scheduler's line claims, and its
        assignment."""
        sql = "SELECT nonce, assignment FROM claim WHERE rank = ? ORDER BY nonce, assignment LIMIT 1"
        found: tuple[int, str] | None = self._sqlite.execute(sql, (rank,)).fetchone()
        return found

    def supersede(self, nonce: int, rank: int, block: int) -> int:
        """Remove what a signer of this place in the line claims from this nonce on, in this block and
        later, and return how much that was."""
        sql = "DELETE FROM claim WHERE nonce >= ? AND rank = ? AND block >= ?"
        return self._sqlite.execute(sql, (nonce, rank, block)).rowcount

    def drop_attestations(self, nonce: int, item_id: str) -> None:
        """Remove what an attestation states about a slot."""
        self._sqlite.execute("DELETE FROM said WHERE nonce = ? AND item = ?", (nonce, item_id))

    def contested(self) -> Iterator[int]:
        """Yield the nonces that have more than one claim."""
        sql = "SELECT nonce FROM claim WHERE nonce > ? GROUP BY nonce HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
        nonce = -1
        while found := self._sqlite.execute(sql, (nonce,)).fetchone():
            (nonce,) = found
            yield nonce

    def claims(self, nonce: int) -> dict[str, int]:
        """Return the assignments that claim a nonce, and their blocks."""
        rows = self._sqlite.execute("SELECT assignment, block FROM claim WHERE nonce = ?", (nonce,))
        return dict(rows.fetchall())

    def name(self, judged: Sequence[CheckedSlot]) -> tuple[LogEntry, int] | None:
        """Store the messages of these slots, or return the first message that has a nonce already, and
        which."""
        rows = [(entry.message_id, entry.nonce) for entry, *_ in judged]
        try:
            self._sqlite.executemany("INSERT OR FAIL INTO slot (message, nonce) VALUES (?, ?)", rows)
        except sqlite3.IntegrityError:  # those before the one at fault are noted: there is no transaction
            for entry, *_ in judged:
                query = self._sqlite.execute("SELECT nonce FROM slot WHERE message = ?", (entry.message_id,))
                (before,) = query.fetchone()
                if before != entry.nonce:
                    return entry, before
        return None

    def page(self, nonce: int, to: int, size: int = 0) -> list[tuple[int, str, str]]:
        """Return the claims from this nonce up to `to`: nonce, assignment and bundle."""
        sql = "SELECT nonce, assignment, bundle FROM claim WHERE nonce BETWEEN ? AND ? ORDER BY nonce LIMIT ?"
        return self._sqlite.execute(sql, (nonce, to, size or limits.VERIFY_PAGE_ENTRIES)).fetchall()

    def last(self) -> int:
        """Return the highest nonce that is claimed; -1 if there is none."""
        (last,) = self._sqlite.execute("SELECT ifnull(max(nonce), -1) FROM claim").fetchone()
        return int(last)

    def add_attestation(self, item: DataItem, statements: Sequence[Statement], until_ms: int) -> None:
        """Store the contents of a verified attestation, which counts for slots up to this time."""
        rows = [(*statement, item.id, item.address, until_ms) for statement in statements]
        self._sqlite.executemany("INSERT INTO said VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def attestations(self, nonce: int, to: int) -> dict[int, list[AttestedSlot]]:
        """Return what is attested of these slots."""
        found: dict[int, list[AttestedSlot]] = defaultdict(list)
        sql = "SELECT * FROM said WHERE nonce BETWEEN ? AND ? ORDER BY nonce"
        for *statement, item_id, owner, until_ms in self._sqlite.execute(sql, (nonce, to)):
            found[statement[0]].append(AttestedSlot(Statement(*statement), item_id, owner, until_ms))
        return found

    def attested(self, to: int) -> tuple[int, int, int]:
        """Return the number of attested slots up to `to`, the last of them (-1: none), and the number of
        attested slots beyond."""
        sql = """SELECT count(DISTINCT nonce) FILTER (WHERE nonce <= ?1),
                        ifnull(max(nonce) FILTER (WHERE nonce <= ?1), -1),
                        count(DISTINCT nonce) FILTER (WHERE nonce > ?1) FROM said"""
        slots, last, beyond = self._sqlite.execute(sql, (to,)).fetchone()
        return slots, last, beyond
