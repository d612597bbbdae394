"""What must hold of a data directory after a power cut, found with the production code that opens it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import parse
from aoray.storage.checkpoints import Checkpoints
from aoray.storage.key_files import load
from aoray.storage.log import SqliteLog
from aoray.storage.log_reader import LogReader
from aoray.storage.results import Results


class Acknowledged(NamedTuple):
    """An item, and how long the record of the disk was when its sender was told that it is safe."""

    process: str
    message: str
    at: int


def missing(state: Path, acknowledged: Iterable[Acknowledged], at: int) -> list[str]:
    """What was acknowledged by then and is in no log. Each log that is there opens, for writing too."""
    due = [each for each in acknowledged if each.at <= at]
    logs = sorted(state.glob("log-*.sqlite"))
    for path in logs:
        opened = SqliteLog(path)
        opened.take_over()
        opened.close()
        check_database(path)
    readers = [LogReader(path) for path in logs]
    for reader in readers:
        check_log(reader)
    found = [
        each.message
        for each in due
        if all(reader.entry(each.process, each.message) is None for reader in readers)
    ]
    for reader in readers:
        reader.close()
    return found


def check_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path


def check_log(reader: LogReader) -> None:
    """No gap, and the head is the last entry."""
    for process in reader.process_ids():
        entries = reader.entries(process, limit=100_000)
        assert [entry.nonce for entry in entries] == list(range(len(entries)))
        assert reader.latest(process) == entries[-1]


def check_directory(state: Path) -> None:
    """All else that a computer keeps: what is there is whole, and is not ahead of the log."""
    check_results(state)
    check_arweave(state)


def check_keys(state: Path, root: Path) -> None:
    """Without its keys a computer would not be the one that signed."""
    for key in (root / "keys").glob("*.json"):
        assert load(state / "keys" / key.name).address == load(key).address


def check_results(state: Path) -> None:
    """Results are of slots that are in the log, without a gap; and checkpoints are what their names say.

    A row may name a file that has been collected: its removal is durable when that of the row is not yet.
    """
    path = state / "results.sqlite"
    if not path.exists():
        return
    results, checkpoints = Results(path), Checkpoints(state)
    check_database(path)
    readers = [LogReader(log) for log in sorted(state.glob("log-*.sqlite"))]
    with closing(sqlite3.connect(path)) as db:
        told = db.execute(
            "SELECT process_id, count(*), max(nonce) FROM results GROUP BY process_id"
        ).fetchall()
    for process, count, last in told:
        assert count == last + 1
        [head] = [found.nonce for reader in readers if (found := reader.latest(process))]
        assert last <= head
        for row in checkpoints.of(process, 2**62):
            assert row.nonce <= last
            file = state / "checkpoints" / row.file
            assert not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() == row.file
    results.close()
    checkpoints.close()
    for reader in readers:
        reader.close()


SETTLED = """
SELECT assignment_id FROM entries WHERE seq <= (SELECT max(entries_to) FROM uploads WHERE settled)
UNION ALL SELECT id FROM publications WHERE seq <= (SELECT max(publications_to) FROM uploads WHERE settled)
"""
"""What the log says is on Arweave: the embedded one accepts in order."""


def check_arweave(state: Path) -> None:
    """Whatever Arweave lists it has, and it lists all that the log says it has."""
    path = state / "arweave.sqlite"
    if not path.exists():
        return
    with ArweaveStore(path) as arweave:
        check_database(path)
        for log in sorted(state.glob("log-*.sqlite")):
            with closing(sqlite3.connect(log)) as db:
                for (item_id,) in db.execute(SETTLED):
                    assert parse(arweave.raw(arweave.get(item_id))).id == item_id
