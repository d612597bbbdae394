"""Uploads: what the log records about Arweave, namely the items to publish besides its entries, and the
bundles.

Where in a message's journey: beside it. The flusher plans an *upload* (a range of entries and a range of
publications), and records each step of it here before it takes the step.

Invariants: the ranges of the uploads follow one another without gap or overlap, so each entry and each
publication is in exactly one upload. A range never changes once it is written, so until an upload is settled,
its bundle can be made again with the same bytes. A publication is stored once for each item id, however often
it is published.

On failure: as in `storage.log`, whose transactions are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from aoray import limits
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signed import ANS104
from aoray.storage.sql import SqlTransaction, Tables, upsert_sql

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
    settled INTEGER NOT NULL,          -- nothing is to be done any more: it is on Arweave
    carrier TEXT NOT NULL,             -- what signed it (upload_rules.Policy), '' before it is signed
    id TEXT NOT NULL,                  -- of the item or transaction on Arweave
    parts BLOB NOT NULL,               -- the signature, or the signed transaction without its data
    anchor_height INTEGER NOT NULL,    -- of the block that a transaction names; 0: it is none
    posted_ms INTEGER NOT NULL,        -- when Arweave accepted it last; 0: it is to be posted
    posts INTEGER NOT NULL             -- how often it was accepted
);
CREATE INDEX uploads_open ON uploads (number) WHERE NOT settled;
"""


class Upload(NamedTuple):
    """A bundle: the ranges of entries and publications in it, and its progress."""

    number: int
    entries_after: int
    entries_to: int
    publications_after: int
    publications_to: int
    settled: bool = False
    carrier: str = ""
    id: str = ""
    parts: bytes = b""
    anchor_height: int = 0
    posted_ms: int = 0
    posts: int = 0


SAVE = upsert_sql("uploads", Upload._fields[:1], Upload._fields[1:])


class UploadBacklog(NamedTuple):
    """The entries and publications that wait to be accepted by Arweave, and the uploads that wait to be
    confirmed."""

    entries: int
    publications: int
    bytes: int  # beyond BACKLOG_ROWS_WEIGHED_MAX rows an estimate
    oldest_ms: int  # timestamp of the oldest entry that waits; 0 if none does
    unconfirmed: int  # uploads that were accepted


class FlushState(NamedTuple):
    """How much of the log is on Arweave, in seq: entries to `flushed` certainly, to `planned` perhaps; `last`
    ends the log."""

    flushed: int
    planned: int
    last: int


def plan(sizes: Sequence[tuple[int, int]]) -> int | None:
    """Return the seq at which the next bundle ends, given the seq and bytes of each row that follows; None if
    none follows."""
    end, total = None, 0
    for seq, size in sizes[: limits.FLUSH_BUNDLE_ENTRIES_MAX]:
        total += size
        if end is not None and total > limits.FLUSH_BUNDLE_BYTES_MAX:
            break
        end = seq
    return end


class Uploads(Tables):
    """The tables of uploads, in the log's database and under its term; `log.uploads`."""

    def publish(self, items: Sequence[DataItem]) -> None:
        """Store items for publication on Arweave; on return they are on disk. Repeating it changes
        nothing."""
        with self._writing() as db:
            publish(db, items)

    def state(self) -> FlushState:
        """Return how far the entries are on Arweave."""
        last = int(self._rows("SELECT coalesce(max(seq), 0) FROM entries")[0][0])
        planned = self._last()
        settled = self._rows("SELECT entries_after FROM uploads WHERE NOT settled ORDER BY number LIMIT 1")
        return FlushState(settled[0][0] if settled else planned.entries_to, planned.entries_to, last)

    def _last(self) -> Upload:
        rows = self._rows("SELECT * FROM uploads ORDER BY number DESC LIMIT 1")
        return _upload(rows[0]) if rows else Upload(0, 0, 0, 0, 0, settled=True)

    def next(self) -> Upload | None:
        """Return the first upload that is to be posted (it may date from before a crash), or plan and record
        a new one; None if nothing waits."""
        return self._unposted() or self._planned()

    def _unposted(self) -> Upload | None:
        rows = self._rows("SELECT * FROM uploads WHERE NOT settled AND posted_ms = 0 ORDER BY number LIMIT 1")
        return _upload(rows[0]) if rows else None

    def end(self) -> tuple[int, int]:
        """Return the present last seq of the entries and of the publications."""
        query = "SELECT ifnull((SELECT max(seq) FROM entries), 0), ifnull(max(seq), 0) FROM publications"
        entries, publications = self._rows(query)[0]
        return entries, publications

    def waits(self, end: tuple[int, int]) -> bool:
        """Return whether anything up to these seqs is still to be posted."""
        last = self._last()
        planned = last.entries_to >= end[0] and last.publications_to >= end[1]
        return not planned or self._unposted() is not None

    def posted(self, after: int) -> list[Upload]:
        """Return a page of the uploads after this number that Arweave has accepted and that are not
        settled."""
        query = "SELECT * FROM uploads WHERE NOT settled AND posted_ms > 0 AND number > ?"
        rows = self._rows(f"{query} ORDER BY number LIMIT ?", after, limits.UPLOADS_WATCHED_AT_ONCE)
        return [_upload(row) for row in rows]

    def backlog(self) -> UploadBacklog:
        """Return how much still waits."""
        last = self._last()
        accepted = last.posts or last.settled
        entries_after = last.entries_to if accepted else last.entries_after
        publications_after = last.publications_to if accepted else last.publications_after
        entries = self._waiting("entries", "length(item) + length(assignment)", entries_after)
        publications = self._waiting("publications", "length(item)", publications_after)
        query = "SELECT timestamp FROM entries WHERE seq > ? ORDER BY seq LIMIT 1"
        oldest = self._rows(query, entries_after)
        unconfirmed = self._rows("SELECT count(*) FROM uploads WHERE NOT settled AND posts > 0")[0][0]
        size = entries[1] + publications[1]
        return UploadBacklog(entries[0], publications[0], size, oldest[0][0] if oldest else 0, unconfirmed)

    def _waiting(self, table: str, size: str, after: int) -> tuple[int, int]:
        """Return how many rows of a table are after this seq, and their bytes, estimated from the first of
        them."""
        count = self._rows(f"SELECT ifnull(max(seq), ?) - ? FROM {table} WHERE seq > ?", after, after, after)
        rows = f"SELECT {size} AS bytes FROM {table} WHERE seq > ? ORDER BY seq LIMIT ?"
        query = f"SELECT count(*), ifnull(sum(bytes), 0) FROM ({rows}) AS first"
        weighed, total = self._rows(query, after, limits.BACKLOG_ROWS_WEIGHED_MAX)[0]
        return int(count[0][0]), total * count[0][0] // max(1, weighed)

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
        """Return where the next upload ends in the entries and in the publications; each has its own
        bound."""
        size, count = "length(item) + length(assignment)", limits.FLUSH_BUNDLE_ENTRIES_MAX
        query = f"SELECT seq, {size} FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
        entries = self._rows(query, last.entries_to, count)
        query = "SELECT seq, length(item) FROM publications WHERE seq > ? ORDER BY seq LIMIT ?"
        return plan(entries), plan(self._rows(query, last.publications_to, count))

    def add(self, upload: Upload) -> None:
        """Record the ranges of a new upload, before it is posted."""
        with self._writing() as db:
            db.execute("INSERT INTO uploads VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", upload)

    def save(self, upload: Upload) -> None:
        """Record the progress of an upload. Once it is settled, only the ids of its publications are kept."""
        with self._writing() as db:
            db.execute(SAVE, upload)
            if upload.settled:
                held = "seq > ? AND seq <= ?"
                ends = upload.publications_after, upload.publications_to
                db.execute(f"UPDATE publications SET item = x'' WHERE {held}", ends)

    def timestamps(self, upload: Upload) -> list[int]:
        """Return the timestamps (ms) of the entries in an upload."""
        query = "SELECT timestamp FROM entries WHERE seq > ? AND seq <= ?"
        return [row[0] for row in self._rows(query, upload.entries_after, upload.entries_to)]

    def items(self, upload: Upload) -> list[tuple[bytes, ...]]:
        """Return the raw items of an upload's bundle, in order: item and assignment of each entry, then the
        publications.

        A bundle can hold only data items, so a message in another envelope is left out.
        """
        query = "SELECT item, assignment, envelope FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq"
        rows = self._rows(query, upload.entries_after, upload.entries_to)
        entries = [row[:2] if row[2] == ANS104 else row[1:2] for row in rows]
        query = "SELECT item FROM publications WHERE seq > ? AND seq <= ? ORDER BY seq"
        return entries + self._rows(query, upload.publications_after, upload.publications_to)


def publish(db: SqlTransaction, items: Sequence[DataItem]) -> None:
    """Store items for publication on Arweave, within another transaction."""
    rows = [(item.id, item.raw) for item in items]
    db.executemany("INSERT OR IGNORE INTO publications (id, item) VALUES (?, ?)", rows)


def _upload(row: tuple[Any, ...]) -> Upload:
    return Upload(*row)._replace(settled=bool(row[5]))
