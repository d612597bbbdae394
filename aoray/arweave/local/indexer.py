"""The indexer: an OS process of its own that indexes the flusher's bundles at low priority.

Where in a message's journey: beside it. Its bundle is in the embedded Arweave, on disk, and waits for its
rows (`index`). Inside the gateway's process this work would come in bursts and compete with the event loop
for Python's lock. Searches need not know of it: the store indexes what still waits before it answers.

    Indexer(path).wake()                          in the gateway: something waits
    python -m aoray.arweave.local.indexer PATH    the process: reads a byte on stdin for each `wake`

Invariants: nothing depends on the indexer, and it may be killed at any moment. It ends when its standard
input is closed, that is, with the gateway. On failure: what it could not index waits for the next `wake`, or
for a search; `wake` starts an ended process again.
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

NICENESS = 10  # under load this is a tenth of what an actor gets, which is enough
_STDIN = 0


class Indexer:
    """The handle of the indexing process for writers of the store. Its methods may be called from any
    thread."""

    def __init__(self, path: Path) -> None:
        """Start the process for the store at `path`; it indexes first what waits there."""
        self._command = [sys.executable, "-m", __spec__.name, str(path)]
        self._process = self._start()

    def wake(self) -> None:
        """Tell the process that a bundle waits; start it again if it has ended."""
        try:
            self._say()
        except BrokenPipeError:
            with self._process:  # its pipe is closed, and it is waited for
                pass
            log.warning("the indexer has ended (%s), and is started again", self._process.returncode)
            self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, bufsize=0)
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _say(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BlockingIOError):  # the pipe is full, so the process will look
            os.write(self._process.stdin.fileno(), b"!")


def main(path: str) -> None:
    """Index what waits, at the start and at each `wake`, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    os.nice(NICENESS)
    uploads = os.open(Path(path).with_suffix(".bytes"), os.O_RDONLY)
    db = sqlite3.connect(path, isolation_level=None, timeout=limits.INDEXER_BUSY_SECONDS_MAX)
    db.execute("PRAGMA cache_size = -65536")
    db.execute("PRAGMA synchronous = NORMAL")  # what a power cut loses is indexed again
    wal = Wal(path)
    while True:
        try:
            while (index.open_oldest(db, uploads) or index.complete_some(db, uploads)) and not _ended():
                wal.checkpoint(db)
        except sqlite3.Error as error:
            log.warning("the Arweave store can't be indexed just now: %s", error)
        if not os.read(_STDIN, 1 << 16):
            return


class Wal:
    """The write-ahead log of the store.

    SQLite restarts it from its beginning only when nobody reads from it and all of it is in the file. Where
    people search and post without a gap, that moment never comes, and it grows.
    """

    def __init__(self, path: str) -> None:
        self._file = Path(f"{path}-wal")
        self._checkpoint_at = limits.WAL_BYTES

    def checkpoint(self, db: sqlite3.Connection) -> None:
        """Move a large log into the file and empty it. Writers wait meanwhile until readers have finished,
        but not for long."""
        size = self._file.stat().st_size
        if size < self._checkpoint_at:
            return
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")  # moves most of it without blocking readers and writers
        db.execute(f"PRAGMA busy_timeout = {limits.WAL_CHECKPOINT_SECONDS_MAX * 1000:.0f}")
        (is_busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        db.execute(f"PRAGMA busy_timeout = {limits.INDEXER_BUSY_SECONDS_MAX * 1000}")
        self._checkpoint_at = (size if is_busy else 0) + limits.WAL_BYTES


def _ended() -> bool:
    """Return whether the parent has closed the pipe. (poll reports this even if bytes are still to be
    read.)"""
    poll = select.poll()
    poll.register(_STDIN, 0)
    return bool(poll.poll(0))


if __name__ == "__main__":
    main(*sys.argv[1:])
