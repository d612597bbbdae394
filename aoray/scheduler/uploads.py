"""What the log knows of Arweave: the items to be brought there besides its entries, and the bundles that do.

Where in a message's journey: beside it. The flusher plans an *upload* (a range of entries and one of
publications), and writes down here what becomes of it, always before it acts on it.

Invariants: the ranges of the uploads follow one another without gap or overlap, so each entry and each
publication is in exactly one upload; a range never changes once it is written, so the bundle of an upload is
the same bytes whenever it is made. A publication has its item's id once, however often it is published.

On failure: as `scheduler.log`, whose transactions these are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from aoray import limits
from aoray.protocol.items import DataItem

SCHEMA = """
CREATE TABLE publications (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    item BLOB NOT NULL
);
CREATE TABLE uploads (
    number INTEGER PRIMARY KEY,
    entries_after INTEGER NOT NULL,    -- it holds the entries after this seq
    entries_to INTEGER NOT NULL,       -- up to this one
    publications_after INTEGER NOT NULL,
    publications_to INTEGER NOT NULL,
    settled INTEGER NOT NULL           -- nothing is to be done any more: it is on Arweave
);
CREATE INDEX uploads_open ON uploads (number) WHERE NOT settled;
"""


class Upload(NamedTuple):
    """A bundle: the entries and publications it holds, and how far it is."""

    number: int
    entries_after: int
    entries_to: int
    publications_after: int
    publications_to: int
    settled: bool = False


class FlushState(NamedTuple):
    """How far the log is on Arweave, in seq: `flushed` surely, to `planned` perhaps; `last` is all."""

    flushed: int
    planned: int
    last: int


def plan(sizes: Sequence[tuple[int, int]]) -> int | None:
    """Where the next bundle ends, given seq and bytes of what comes next. None if nothing does."""
    end, total = None, 0
    for seq, size in sizes[: limits.FLUSH_BUNDLE_ENTRIES_MAX]:
        total += size
        if end is not None and total > limits.FLUSH_BUNDLE_BYTES_MAX:
            break
        end = seq
    return end


class Uploads:
    """The tables, in the log's database and under its term; `log.uploads`."""

    def __init__(
        self,
        rows: Callable[..., list[Any]],
        writing: Callable[[], AbstractContextManager[sqlite3.Connection]],
    ) -> None:
        self._rows = rows
        self._writing = writing

    def publish(self, items: Sequence[DataItem]) -> None:
        """Keep items to be brought to Arweave; on return they are on the disk. Again is the same as once."""
        with self._writing() as db:
            db.executemany(
                "INSERT OR IGNORE INTO publications (id, item) VALUES (?, ?)",
                [(item.id, item.raw) for item in items],
            )

    def state(self) -> FlushState:
        """How far the entries are."""
        last = int(self._rows("SELECT coalesce(max(seq), 0) FROM entries")[0][0])
        planned = self._last()
        settled = self._rows("SELECT entries_after FROM uploads WHERE NOT settled ORDER BY number LIMIT 1")
        return FlushState(settled[0][0] if settled else planned.entries_to, planned.entries_to, last)

    def _last(self) -> Upload:
        rows = self._rows("SELECT * FROM uploads ORDER BY number DESC LIMIT 1")
        return Upload(*rows[0]) if rows else Upload(0, 0, 0, 0, 0, settled=True)

    def next(self) -> Upload | None:
        """The upload that is under way (perhaps since before a crash), or a new one, written down."""
        rows = self._rows("SELECT * FROM uploads WHERE NOT settled ORDER BY number LIMIT 1")
        return Upload(*rows[0]) if rows else self._planned()

    def _planned(self) -> Upload | None:
        last = self._last()
        entries, publications = self._ends(last)
        if entries is None and publications is None:
            return None
        upload = Upload(
            last.number + 1,
            last.entries_to,
            entries or last.entries_to,
            last.publications_to,
            publications or last.publications_to,
        )
        self.add(upload)
        return upload

    def _ends(self, last: Upload) -> tuple[int | None, int | None]:
        """Where the next upload ends, in the entries and in the publications: each has its own share."""
        size, count = "length(item) + length(assignment)", limits.FLUSH_BUNDLE_ENTRIES_MAX
        query = f"SELECT seq, {size} FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
        entries = self._rows(query, last.entries_to, count)
        query = "SELECT seq, length(item) FROM publications WHERE seq > ? ORDER BY seq LIMIT ?"
        return plan(entries), plan(self._rows(query, last.publications_to, count))

    def add(self, upload: Upload) -> None:
        """Write down what the next bundle holds, before it is posted."""
        with self._writing() as db:
            db.execute("INSERT INTO uploads VALUES (?,?,?,?,?,?)", upload)

    def save(self, upload: Upload) -> None:
        """Write down how far it is."""
        with self._writing() as db:
            db.execute("UPDATE uploads SET settled = ? WHERE number = ?", [upload.settled, upload.number])

    def items(self, upload: Upload) -> list[tuple[bytes, ...]]:
        """What its bundle holds, in order: item and assignment of each entry, then the publications."""
        query = "SELECT item, assignment FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq"
        entries = self._rows(query, upload.entries_after, upload.entries_to)
        query = "SELECT item FROM publications WHERE seq > ? AND seq <= ? ORDER BY seq"
        return entries + self._rows(query, upload.publications_after, upload.publications_to)
