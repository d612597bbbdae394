"""What Arweave lists of one process, in tables on disk: who claims which nonce, and what is attested of it.

Between what asks a gateway (published.py) and what judges (replay.py, verify.py): pages come in any order,
and are read in that of the nonces. Nothing here is believed: a claim is what a gateway says until its item
was verified. Memory holds a page, however long the log is.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from aoray import limits
from aoray.protocol.assignments import LogEntry
from aoray.protocol.attestations import Statement
from aoray.protocol.items import DataItem
from aoray.verify import Claim, Said

if TYPE_CHECKING:
    from aoray.judging import Judged

TABLES = (
    "CREATE TABLE claim (nonce INTEGER, assignment TEXT, bundle TEXT, rank INTEGER,"
    " PRIMARY KEY (nonce, assignment))",
    "CREATE TABLE slot (nonce INTEGER PRIMARY KEY, message TEXT UNIQUE)",
    "CREATE TABLE said (nonce INTEGER, message TEXT, result TEXT, state TEXT, item TEXT, owner TEXT)",
    "CREATE INDEX said_of ON said (nonce)",
)


class Table:
    """What was listed, by nonce, on disk (SQLite's own temporary file)."""

    def __init__(self) -> None:
        self._sqlite = sqlite3.connect("", isolation_level=None)
        self._sqlite.execute("PRAGMA journal_mode = OFF")
        for statement in TABLES:
            self._sqlite.execute(statement)

    def close(self) -> None:
        self._sqlite.close()

    def add(self, claim: Claim) -> None:
        """Keep a claim, beside others of its nonce."""
        row = (claim.nonce, claim.assignment_id, claim.bundle, claim.rank)
        self._sqlite.execute("INSERT OR IGNORE INTO claim VALUES (?, ?, ?, ?)", row)

    def drop(self, nonce: int, assignment_id: str) -> None:
        """Forget a claim that is none."""
        self._sqlite.execute("DELETE FROM claim WHERE nonce = ? AND assignment = ?", (nonce, assignment_id))

    def first_of(self, rank: int) -> tuple[int, str] | None:
        """The lowest nonce that a signer of this place in the scheduler's line claims, and its assignment."""
        sql = "SELECT nonce, assignment FROM claim WHERE rank = ? ORDER BY nonce, assignment LIMIT 1"
        found: tuple[int, str] | None = self._sqlite.execute(sql, (rank,)).fetchone()
        return found

    def supersede(self, nonce: int, rank: int) -> int:
        """Forget what earlier signers claim from this nonce on; says how many."""
        sql = "DELETE FROM claim WHERE nonce >= ? AND rank < ?"
        return self._sqlite.execute(sql, (nonce, rank)).rowcount

    def unsay(self, nonce: int, compute_unit: str) -> None:
        """Forget what a compute unit attests of a slot."""
        self._sqlite.execute("DELETE FROM said WHERE nonce = ? AND owner = ?", (nonce, compute_unit))

    def contested(self) -> Iterator[int]:
        """The nonces that have more than one claim."""
        sql = "SELECT nonce FROM claim WHERE nonce > ? GROUP BY nonce HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
        nonce = -1
        while found := self._sqlite.execute(sql, (nonce,)).fetchone():
            (nonce,) = found
            yield nonce

    def claims(self, nonce: int) -> list[str]:
        """The assignments that claim a nonce."""
        rows = self._sqlite.execute("SELECT assignment FROM claim WHERE nonce = ?", (nonce,))
        return [assignment for (assignment,) in rows.fetchall()]

    def name(self, judged: Sequence[Judged]) -> tuple[LogEntry, int] | None:
        """Note the messages of these slots; or the first that has a nonce already, and which."""
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
        """From this nonce up to `to`: nonce, assignment and bundle of what there is."""
        sql = "SELECT nonce, assignment, bundle FROM claim WHERE nonce BETWEEN ? AND ? ORDER BY nonce LIMIT ?"
        return self._sqlite.execute(sql, (nonce, to, size or limits.VERIFY_PAGE_ENTRIES)).fetchall()

    def last(self) -> int:
        """The highest nonce; -1 if there is none."""
        (last,) = self._sqlite.execute("SELECT ifnull(max(nonce), -1) FROM claim").fetchone()
        return int(last)

    def say(self, item: DataItem, statements: Sequence[Statement]) -> None:
        """Keep what a verified attestation says."""
        rows = [(*statement, item.id, item.address) for statement in statements]
        self._sqlite.executemany("INSERT INTO said VALUES (?, ?, ?, ?, ?, ?)", rows)

    def said(self, nonce: int, to: int) -> dict[int, list[Said]]:
        """What is attested of these slots."""
        found: dict[int, list[Said]] = defaultdict(list)
        sql = "SELECT * FROM said WHERE nonce BETWEEN ? AND ? ORDER BY nonce"
        for *statement, item_id, owner in self._sqlite.execute(sql, (nonce, to)):
            found[statement[0]].append(Said(Statement(*statement), item_id, owner))
        return found

    def attested(self, to: int) -> tuple[int, int, int]:
        """Slots up to `to` that are attested, the last of them (-1: none), and attested slots beyond."""
        sql = """SELECT count(DISTINCT nonce) FILTER (WHERE nonce <= ?1),
                        ifnull(max(nonce) FILTER (WHERE nonce <= ?1), -1),
                        count(DISTINCT nonce) FILTER (WHERE nonce > ?1) FROM said"""
        slots, last, beyond = self._sqlite.execute(sql, (to,)).fetchone()
        return slots, last, beyond
