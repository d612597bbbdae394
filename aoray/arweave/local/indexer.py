"""Indexes the flusher's bundles in an OS process of its own, which gives way to everybody else.

Beside a message's journey: its bundle is in the embedded Arweave, on disk, and waits for its rows (`index`).
In the gateway's process that work came in bursts against the event loop, which had to ask for Python's lock
at each turn. Whoever searches need not know of it: the store indexes what still waits before it answers.

    Indexer(path).wake()                       in the gateway: there is something
    python -m aoray.arweave.local.indexer PATH       the process: a byte on its standard input for each `wake`

Invariants: nobody depends on it, and it may be killed at any moment. It ends when its standard input does,
that is with the gateway. On failure: what it could not index waits for the next `wake`, or for a search; one
that has ended is started again by `wake`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from aoray import limits
from aoray.arweave.local import index

log = logging.getLogger(__name__)

NICENESS = 10  # under load a tenth of what an actor gets, which is enough for it
_STDIN = 0


class Indexer:
    """The indexing process, as the writers of the store see it. Its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Of the store at `path`; it begins with what waits there."""
        self._command = [sys.executable, "-m", __spec__.name, str(path)]
        self._process = self._start()

    def wake(self) -> None:
        """Tell the process that a bundle waits."""
        try:
            self._say()
        except BrokenPipeError:
            log.warning("the indexer has ended (%s), and is started again", self._process.poll())
            self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, bufsize=0)
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _say(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BlockingIOError):  # it has been told often enough
            os.write(self._process.stdin.fileno(), b"!")


def main(path: str) -> None:
    """Index what waits, again at each word from the parent, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started it
    os.nice(NICENESS)
    uploads = os.open(Path(path).with_suffix(".bytes"), os.O_RDONLY)
    db = sqlite3.connect(path, isolation_level=None, timeout=limits.INDEXER_BUSY_SECONDS_MAX)
    db.execute("PRAGMA cache_size = -65536")
    db.execute("PRAGMA synchronous = NORMAL")  # what power takes away is indexed once more
    wal = Wal(path)
    while True:
        try:
            while (index.open_oldest(db, uploads) or index.complete_some(db, uploads)) and not _ended():
                wal.fold(db)
        except sqlite3.Error as error:
            log.warning("the Arweave store can't be indexed just now: %s", error)
        if not os.read(_STDIN, 1 << 16):
            return


class Wal:
    """The write-ahead log of the store. SQLite begins it again only at a moment when nobody reads from it
    and all of it is in the file; where people search and post without a gap there is none, and it grows."""

    def __init__(self, path: str) -> None:
        self._file = Path(f"{path}-wal")
        self._fold_at = limits.WAL_BYTES

    def fold(self, db: sqlite3.Connection) -> None:
        """Empty the log if it is large: writers wait until readers have moved on, but not for long."""
        size = self._file.stat().st_size
        if size < self._fold_at:
            return
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")  # most of it, beside whoever reads and writes
        db.execute(f"PRAGMA busy_timeout = {limits.WAL_FOLD_SECONDS_MAX * 1000:.0f}")
        (is_busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        db.execute(f"PRAGMA busy_timeout = {limits.INDEXER_BUSY_SECONDS_MAX * 1000}")
        self._fold_at = (size if is_busy else 0) + limits.WAL_BYTES


def _ended() -> bool:
    """Whether the other end is closed. (A poll says so behind the bytes that are still to be read, too.)"""
    poll = select.poll()
    poll.register(_STDIN, 0)
    return bool(poll.poll(0))


if __name__ == "__main__":
    main(*sys.argv[1:])
