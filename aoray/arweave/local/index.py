"""The index of the embedded Arweave: its items, where their bytes are, and the terms that find them.

    block    the chain; `first` is the `seq` of its first item
    item     every item, numbered in the order of acceptance
    term     (term, seq): what `search` looks up
    layer1   the layer-1 transactions with data, and whether the data has arrived
    waiting  trusted bundles that are accepted, in order, whose items have no rows yet
    unnamed  the `seq` up to which the names of tags have no terms yet (after an upgrade; otherwise no row)
    unpaired the `seq` up to which pairs of owner and process have no terms yet

A stranger's upload is indexed when it is accepted. The flusher's bundles arrive under load, one after
another, so they may wait; `open_oldest` gives their items rows when there is time (`indexer`), or when
somebody searches (`ArweaveStore`). The resulting rows are the same.

Invariants: items get their `seq` in the order of acceptance, and nothing is indexed before bundles that wait.
A block whose items wait has a `first` that no item reaches. The rows of a bundle are written, and the bundle
stops waiting, in one transaction. Functions here write in the caller's transaction, except `open_oldest` and
`complete_some`, which have their own.

On failure: sqlite3.Error; the transaction is rolled back, and the bundle still waits.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence

import orjson

from aoray.arweave.local.intake import IndexedItem, Intake, names_of, opened, pairs_of
from aoray.errors import AorayError, ClientError
from aoray.limits import UPLOAD_BYTES_MAX
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.signed import ANS104, parse
from aoray.protocol.transactions import Transaction, from_json, is_raw
from aoray.storage.sql import sqlite_transaction

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA cache_size = -65536;
PRAGMA wal_autocheckpoint = 4000;
CREATE TABLE IF NOT EXISTS block (
    height INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, timestamp INTEGER NOT NULL, first INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS block_by_time ON block (timestamp);
CREATE TABLE IF NOT EXISTS item (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, height INTEGER NOT NULL, parent BLOB,
    start INTEGER NOT NULL, header_size INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS term (term INTEGER, seq INTEGER, PRIMARY KEY (term, seq)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS item_by_start ON item (start) WHERE parent IS NULL;
CREATE TABLE IF NOT EXISTS layer1 (
    id TEXT PRIMARY KEY, data_root BLOB NOT NULL, data_size INTEGER NOT NULL, seeded INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS layer1_by_root ON layer1 (data_root);
CREATE TABLE IF NOT EXISTS waiting (
    start INTEGER PRIMARY KEY, id BLOB NOT NULL, height INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS unnamed (last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS unpaired (last INTEGER NOT NULL);
"""
VERSION = 2  # 0 had no names of tags, 1 no pairs of owners and processes
NOT_YET = 1 << 62  # the `first` of a block whose items wait
_OLDEST = "SELECT start, height, size FROM waiting WHERE start <= ? ORDER BY start LIMIT 1"
_LATER_TERMS = ("unnamed", names_of), ("unpaired", pairs_of)  # the terms that each later version added
_COMPLETED_AT_ONCE = 500
_MANY = 4  # a term of more items than this is written as one list, which takes a third of the time


def set_up(db: sqlite3.Connection) -> None:
    """Make the tables in their present form. Raises `ClientError` if a later version of aoray made them."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise ClientError(
            "this Arweave was made by a later aoray", hint="Use that, or another --data.", version=version
        )
    db.executescript(SCHEMA)
    for later, (lacks, _) in enumerate(_LATER_TERMS, 1):
        if version < later:
            db.execute(f"INSERT INTO {lacks} SELECT max(seq) FROM item HAVING max(seq) IS NOT NULL")
    db.execute(f"PRAGMA user_version = {VERSION}")


def height_of(db: sqlite3.Connection, item: bytes) -> int | None:
    """Return the block height of an item, or of a bundle that waits; None if it is not here."""
    query = "SELECT height FROM item WHERE id = ?1 UNION ALL SELECT height FROM waiting WHERE id = ?1"
    row = db.execute(query, [item]).fetchone()
    return int(row[0]) if row else None


def write(db: sqlite3.Connection, intake: Intake, start: int, height: int) -> None:
    """Write the rows of an upload that starts at `start`, except items that have rows already."""
    last = last_seq(db)
    db.execute("UPDATE block SET first = min(first, ?) WHERE height = ?", [last + 1, height])
    rows = [
        (seq, item.id, height, item.parent, start + item.start, item.header_size, item.size)
        for seq, item in enumerate(intake.placed, last + 1)
    ]
    done = db.executemany("INSERT OR IGNORE INTO item VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    fresh = list(enumerate(intake.placed, last + 1))
    if done.rowcount < len(rows):
        written = {seq for (seq,) in db.execute("SELECT seq FROM item WHERE seq > ?", [last])}
        fresh = [(seq, item) for seq, item in fresh if seq in written]
    _write_terms(db, fresh)


def last_seq(db: sqlite3.Connection) -> int:
    """Return the number of the last item; 0 if there is none."""
    (last,) = db.execute("SELECT ifnull(max(seq), 0) FROM item").fetchone()
    return int(last)


def move(db: sqlite3.Connection, item: IndexedItem, start: int) -> None:
    """Record that the bytes of an upload are now at `start`, because the data of a transaction arrived after
    it."""
    place = [start + item.start, item.header_size, item.size, item.id]
    db.execute("UPDATE item SET start = ?, header_size = ?, size = ? WHERE id = ?", place)


def _write_terms(db: sqlite3.Connection, items: Sequence[tuple[int, IndexedItem]]) -> None:
    """Write terms in sorted order, since neighbours share pages of the database."""
    found: dict[int, list[int]] = {}
    for seq, item in items:
        for term in item.terms:
            if term in found:
                found[term].append(seq)
            else:
                found[term] = [seq]
    ordered = sorted(found.items())
    many = [(term, str(seqs)) for term, seqs in ordered if len(seqs) > _MANY]
    few = [(term, seq) for term, seqs in ordered if len(seqs) <= _MANY for seq in seqs]
    db.executemany("INSERT INTO term SELECT ?1, value FROM json_each(?2)", many)
    db.executemany("INSERT INTO term VALUES (?, ?)", few)


def wait(db: sqlite3.Connection, intake: Intake, start: int, height: int) -> None:
    """Let a closed bundle that starts at `start` wait for its rows."""
    db.execute(
        "INSERT INTO waiting VALUES (?, ?, ?, ?)", (start, intake.placed[0].id, height, len(intake.raw))
    )


def waiting(db: sqlite3.Connection) -> tuple[int, int]:
    """Return where the last waiting bundle starts (-1 if none waits), and the bytes of all that wait."""
    last, size = db.execute("SELECT ifnull(max(start), -1), ifnull(sum(size), 0) FROM waiting").fetchone()
    return last, size


def open_oldest(db: sqlite3.Connection, uploads: int, last: int = NOT_YET) -> bool:
    """Index the bundle that has waited longest, if it starts at `last` or before; return whether there was
    one.

    `uploads` is the descriptor of the file of bytes. Reading and parsing the bundle blocks nobody; if another
    process indexes it first, the work is discarded.
    """
    found = _open(db, uploads, last)
    if found:
        with sqlite_transaction(db):
            _settle(db, *found)
    return found is not None


def complete_some(db: sqlite3.Connection, uploads: int) -> bool:
    """Write the terms that later versions added for some items that lack them; return whether there were
    any."""
    for lacks, terms_of in _LATER_TERMS:
        if (row := db.execute(f"SELECT last FROM {lacks}").fetchone()) is not None:
            page = "SELECT seq, start, header_size FROM item WHERE seq <= ? ORDER BY seq DESC LIMIT ?"
            items = db.execute(page, [row[0], _COMPLETED_AT_ONCE]).fetchall()
            found = [(seq, terms_of(fields_of(read(uploads, start, size))[0])) for seq, start, size in items]
            with sqlite_transaction(db):
                terms = sorted((term, seq) for seq, terms in found for term in terms)
                db.executemany("INSERT OR IGNORE INTO term VALUES (?, ?)", terms)
                if items:
                    db.execute(f"UPDATE {lacks} SET last = ?", [items[-1][0] - 1])
                else:
                    db.execute(f"DELETE FROM {lacks}")
            return True
    return False


def open_all(db: sqlite3.Connection, uploads: int) -> None:
    """Index all waiting bundles in the caller's transaction."""
    while found := _open(db, uploads, NOT_YET):
        _settle(db, *found)


def _open(db: sqlite3.Connection, uploads: int, last: int) -> tuple[Intake, int, int] | None:
    """Return the oldest waiting bundle, unfolded, with its start and its block height; None if none waits."""
    row = db.execute(_OLDEST, [last]).fetchone()
    if row is None:
        return None
    start, height, size = row
    bundle = parse(read(uploads, start, size), ANS104, bytes_max=UPLOAD_BYTES_MAX)
    return opened(bundle, {bundle.address}), start, height  # only bundles of trusted owners wait


def _settle(db: sqlite3.Connection, intake: Intake, start: int, height: int) -> None:
    if db.execute("DELETE FROM waiting WHERE start = ?", [start]).rowcount:
        write(db, intake, start, height)


def fields_of(header: bytes) -> tuple[DataItem, Transaction | None]:
    """Return the fields of an item without its data, and the layer-1 transaction if it is one."""
    if not is_raw(header):
        return parse(header, ANS104), None
    transaction = from_json(orjson.loads(header))
    return transaction.item, transaction


def read(uploads: int, start: int, size: int) -> bytes:
    """Return a range of the file of bytes. Raises `AorayError` if bytes are missing."""
    found = os.pread(uploads, size, start) if size > 0 else b""
    if len(found) != max(size, 0):
        raise AorayError("the Arweave store lost bytes", start=start, size=size)
    return found
