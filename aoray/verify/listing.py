"""The list of what Arweave has about one process, in tables on disk: the claims to each nonce, and the
attestations.

It lies between the queries to a gateway (verify/source.py) and the checks (verify/replay.py,
verify/rules.py): pages come in any order, and are read in the order of nonces. Nothing in these tables is
trusted: a claim is what a gateway says until its item is verified. Memory holds one page, however long the
log is.
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
    """The claims that a gateway listed, by nonce, and the attestations, on disk (in SQLite's own temporary
    file)."""

    def __init__(self) -> None:
        self._sqlite = sqlite3.connect("", isolation_level=None)
        self._sqlite.execute("PRAGMA journal_mode = OFF")
        for statement in TABLES:
            self._sqlite.execute(statement)

    def close(self) -> None:
        """Close the temporary file, which removes it."""
        self._sqlite.close()

    def add(self, claim: Claim) -> None:
        """Store a claim, besides others of the same nonce."""
        row = (claim.nonce, claim.assignment_id, claim.bundle, claim.rank, claim.block)
        self._sqlite.execute("INSERT OR IGNORE INTO claim VALUES (?, ?, ?, ?, ?)", row)

    def drop(self, nonce: int, assignment_id: str) -> None:
        """Remove a claim that proved to be false."""
        self._sqlite.execute("DELETE FROM claim WHERE nonce = ? AND assignment = ?", (nonce, assignment_id))

    def first_of(self, rank: int) -> tuple[int, str] | None:
        """Return the lowest nonce that the signer with this index in the scheduler's line claims, and its
        assignment; None if there is none."""
        sql = "SELECT nonce, assignment FROM claim WHERE rank = ? ORDER BY nonce, assignment LIMIT 1"
        found: tuple[int, str] | None = self._sqlite.execute(sql, (rank,)).fetchone()
        return found

    def supersede(self, nonce: int, rank: int, block: int) -> int:
        """Remove the claims of the signer with this index in the line, from this nonce on, that are in this
        block or later; return how many there were."""
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
        """Return the ids of the assignments that claim a nonce, with the heights of their blocks."""
        rows = self._sqlite.execute("SELECT assignment, block FROM claim WHERE nonce = ?", (nonce,))
        return dict(rows.fetchall())

    def name(self, judged: Sequence[CheckedSlot]) -> tuple[LogEntry, int] | None:
        """Store the message ids of these slots. If a message has another nonce already, return its slot and
        that nonce."""
        rows = [(entry.message_id, entry.nonce) for entry, *_ in judged]
        try:
            self._sqlite.executemany("INSERT OR FAIL INTO slot (message, nonce) VALUES (?, ?)", rows)
        except sqlite3.IntegrityError:  # the rows before it are stored, since there is no transaction
            for entry, *_ in judged:
                query = self._sqlite.execute("SELECT nonce FROM slot WHERE message = ?", (entry.message_id,))
                (before,) = query.fetchone()
                if before != entry.nonce:
                    return entry, before
        return None

    def page(self, nonce: int, to: int, size: int = 0) -> list[tuple[int, str, str]]:
        """Return the claims from `nonce` up to `to`, as nonce, assignment id and bundle id; at most
        `size`."""
        sql = "SELECT nonce, assignment, bundle FROM claim WHERE nonce BETWEEN ? AND ? ORDER BY nonce LIMIT ?"
        return self._sqlite.execute(sql, (nonce, to, size or limits.VERIFY_PAGE_ENTRIES)).fetchall()

    def last(self) -> int:
        """Return the highest nonce that is claimed; -1 if there is none."""
        (last,) = self._sqlite.execute("SELECT ifnull(max(nonce), -1) FROM claim").fetchone()
        return int(last)

    def add_attestation(self, item: DataItem, statements: Sequence[Statement], until_ms: int) -> None:
        """Store the statements of a verified attestation, which counts for slots up to this time (ms)."""
        rows = [(*statement, item.id, item.address, until_ms) for statement in statements]
        self._sqlite.executemany("INSERT INTO said VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def attestations(self, nonce: int, to: int) -> dict[int, list[AttestedSlot]]:
        """Return the statements about the slots from `nonce` up to `to`, by nonce."""
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
