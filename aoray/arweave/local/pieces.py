"""Uploads that arrive in pieces, until they are complete: chunks of layer-1 transactions, and parts of data
items from clients of bundlers (`bundler_routes`).

Pieces are in a database of their own, `arweave-pieces.sqlite`, and on disk when they are acknowledged, so an
upload can be continued after a restart. Several OS processes may have it open. A complete upload is read
once, moved to the store, and dropped here.

Invariants: the bytes are bounded in total and for each sender (an address), and so is the number of uploads.
Each piece counts for its sender, whoever started the upload, since chunks of one transaction may come from
many senders. An upload without progress for `PIECES_IDLE_SECONDS_MAX`, or older than `PIECES_SECONDS_MAX`, is
dropped, so a slow sender can't occupy room for long. A piece that arrives again changes nothing.

On failure: `Overloaded` (503) beyond a total bound, `RateLimited` (429) beyond a bound of the sender, both
with the time to wait; `NotFound` for an upload that does not exist (any more); `Unavailable` if the disk
fails.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aoray import limits
from aoray.errors import ClientError, NotFound, Overloaded, RateLimited, TooLarge, Unavailable
from aoray.storage.sql import sqlite_transaction

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS upload (
    key TEXT PRIMARY KEY, sender TEXT NOT NULL, began REAL NOT NULL, touched REAL NOT NULL,
    pieces INTEGER NOT NULL, bytes INTEGER NOT NULL, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS piece (
    key TEXT NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (key, start));
CREATE TABLE IF NOT EXISTS share (
    key TEXT NOT NULL, sender TEXT NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (key, sender));
CREATE INDEX IF NOT EXISTS share_of ON share (sender);
"""
RETRY_SECONDS = 10


class Pieces:
    """All uploads in pieces that are not complete. All methods block, and may be called from any thread."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        with path.with_suffix(".lock").open("ab") as lock:  # SQLite does not wait to change the journal mode
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._db.executescript(SCHEMA)
        self._clock = clock
        self._turn = threading.Lock()
        self._completed = set[str]()  # uploads that a caller is completing
        self.refused_total = 0  # for metrics
        self.held = 0  # bytes after the last write, for metrics

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin(self, key: str, sender: str) -> None:
        """Begin an upload. Raises `Overloaded` or `RateLimited`."""
        with self._writing() as db:
            self._open(db, key, sender)

    def add(self, key: str, sender: str, start: int, data: bytes, *, opens: bool = False) -> int:
        """Store a piece that starts at `start`, and return the bytes that the upload has now. With `opens`,
        begin the upload if it does not exist."""
        with self._writing() as db:
            if opens and _find(db, key) is None:
                self._open(db, key, sender)
            _under_way(db, key)
            known = db.execute("SELECT size FROM piece WHERE key = ? AND start = ?", [key, start]).fetchone()
            if known is None:
                _check_room(db, key, sender, len(data))
                db.execute("INSERT INTO piece VALUES (?, ?, ?, ?)", [key, start, len(data), data])
                db.execute(_SHARE, [key, sender, len(data)])
                grow = "UPDATE upload SET touched = ?, pieces = pieces + 1, bytes = bytes + ? WHERE key = ?"
                db.execute(grow, [self._clock(), len(data), key])
            elif known[0] != len(data):
                raise ClientError(f"another piece begins at {start}", hint="Begin a new upload.", upload=key)
            return _under_way(db, key)

    def spans(self, key: str) -> list[tuple[int, int]]:
        """Return where each piece of an upload starts, and its size."""
        with self._writing() as db:
            _under_way(db, key)
            return db.execute("SELECT start, size FROM piece WHERE key = ? ORDER BY start", [key]).fetchall()

    def joined(self, key: str) -> bytes:
        """Return the pieces of an upload, joined. Raises `ClientError` if one is missing or they overlap."""
        end = 0
        for start, size in self.spans(key):
            if start != end:
                raise ClientError(f"the upload has no piece that begins at {end}", upload=key, at=end)
            end += size
        with self._writing() as db:
            rows = db.execute("SELECT data FROM piece WHERE key = ? ORDER BY start", [key])
            return b"".join(data for (data,) in rows)

    @contextmanager
    def completing(self, key: str) -> Iterator[bool]:
        """Yield whether this caller alone may complete the upload, which takes all of it into memory."""
        with self._turn:
            if free := key not in self._completed:
                self._completed.add(key)
        try:
            yield free
        finally:
            if free:
                with self._turn:
                    self._completed.discard(key)

    def finish(self, key: str, answer: str) -> None:
        """Drop the pieces of an upload, and keep the answer for PIECES_IDLE_SECONDS_MAX."""
        with self._writing() as db:
            _drop_pieces(db, key)
            done = "UPDATE upload SET answer = ?, touched = ?, pieces = 0, bytes = 0 WHERE key = ?"
            db.execute(done, [answer, self._clock(), key])

    def answer(self, key: str) -> str:
        """Return the answer that `finish` was given; '' while the upload is not complete. Raises `NotFound`
        if it does not exist."""
        with self._writing() as db:
            found = _find(db, key)
        if found is None:
            raise NotFound("no such upload is under way", hint=_GONE, upload=key)
        return found

    def drop(self, key: str) -> None:
        """Drop an upload."""
        with self._writing() as db:
            _drop(db, key)

    def bytes(self) -> int:
        """Return the bytes of all uploads that are not complete."""
        with self._writing() as db:
            return _bytes(db, "upload")

    def _open(self, db: sqlite3.Connection, key: str, sender: str) -> None:
        counts = "SELECT count(*), ifnull(sum(sender = ?), 0) FROM upload WHERE answer = ''"
        count, own = db.execute(counts, [sender]).fetchone()
        if own >= limits.PIECES_SENDER_UPLOADS_MAX:
            raise _sender_has(f"{own} uploads under way")
        if count >= limits.PIECES_UPLOADS_MAX:
            raise Overloaded("too many uploads are under way", hint=_WAIT, retry_after_s=RETRY_SECONDS)
        now = self._clock()
        db.execute("INSERT INTO upload VALUES (?, ?, ?, ?, 0, 0, '')", [key, sender, now, now])

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction, in which uploads that are too old have been dropped."""
        try:
            with self._turn, sqlite_transaction(self._db):
                now = self._clock()
                query = "SELECT key FROM upload WHERE touched < ? OR began < ?"
                ends = [now - limits.PIECES_IDLE_SECONDS_MAX, now - limits.PIECES_SECONDS_MAX]
                for (key,) in self._db.execute(query, ends).fetchall():
                    _drop(self._db, key)
                yield self._db
                self.held = _bytes(self._db, "upload")
        except (Overloaded, RateLimited):
            self.refused_total += 1
            raise
        except sqlite3.Error as error:
            raise Unavailable(
                f"uploads in pieces can't be stored: {error}", hint="Is the disk full?"
            ) from error


_SHARE = "INSERT INTO share VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes"
_GONE = "Begin the upload again: uploads without progress are dropped."
_WAIT = "Try again later."


def _find(db: sqlite3.Connection, key: str) -> str | None:
    """Return the answer of an upload, '' while it is not complete; None if it does not exist."""
    found = db.execute("SELECT answer FROM upload WHERE key = ?", [key]).fetchone()
    return found and str(found[0])


def _under_way(db: sqlite3.Connection, key: str) -> int:
    """Return the bytes of an upload. Raises `NotFound` if it is complete or does not exist."""
    found = db.execute("SELECT bytes FROM upload WHERE key = ? AND answer = ''", [key]).fetchone()
    if found is None:
        raise NotFound("no such upload is under way", hint=_GONE, upload=key)
    return int(found[0])


def _check_room(db: sqlite3.Connection, key: str, sender: str, more: int) -> None:
    """Raise an error if there is no room for this many more bytes of this upload, from this sender."""
    pieces, size = db.execute("SELECT pieces, bytes FROM upload WHERE key = ?", [key]).fetchone()
    if size + more > limits.UPLOAD_BYTES_MAX or pieces >= limits.PIECES_OF_UPLOAD_MAX:
        most = f"{limits.UPLOAD_BYTES_MAX} bytes in {limits.PIECES_OF_UPLOAD_MAX} pieces"
        raise TooLarge(f"an upload has {most} at most", upload=key)
    if _bytes(db, "share WHERE sender = ?", sender) + more > limits.PIECES_SENDER_BYTES_MAX:
        raise _sender_has(f"{limits.PIECES_SENDER_BYTES_MAX} bytes of uploads under way")
    if _bytes(db, "upload") + more > limits.PIECES_BYTES_MAX:
        raise Overloaded("too much is being uploaded", hint=_WAIT, retry_after_s=RETRY_SECONDS)


def _sender_has(what: str) -> RateLimited:
    return RateLimited(f"this address has {what}", hint="Finish some first.", retry_after_s=RETRY_SECONDS)


def _bytes(db: sqlite3.Connection, rows: str, *values: str) -> int:
    (size,) = db.execute(f"SELECT ifnull(sum(bytes), 0) FROM {rows}", values).fetchone()
    return int(size)


def _drop_pieces(db: sqlite3.Connection, key: str) -> None:
    db.execute("DELETE FROM piece WHERE key = ?", [key])
    db.execute("DELETE FROM share WHERE key = ?", [key])


def _drop(db: sqlite3.Connection, key: str) -> None:
    _drop_pieces(db, key)
    db.execute("DELETE FROM upload WHERE key = ?", [key])
