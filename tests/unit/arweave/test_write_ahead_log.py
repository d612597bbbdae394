"""The write-ahead log of the embedded Arweave stays small, though somebody always reads or posts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from aoray import limits
from aoray.arweave.local.indexer import Wal

SIZE = 1 << 20


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    monkeypatch.setattr(limits, "WAL_BYTES", SIZE)
    monkeypatch.setattr(limits, "WAL_CHECKPOINT_SECONDS_MAX", 0.05)
    opened = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    opened.executescript("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x BLOB);")
    yield opened
    opened.close()


def test_what_is_large_is_emptied_once_nobody_reads_from_it(db: sqlite3.Connection, tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite-wal"
    wal = Wal(str(tmp_path / "store.sqlite"))
    db.execute("INSERT INTO t VALUES (zeroblob(1000))")
    wal.checkpoint(db)
    assert file.stat().st_size > 0  # too small to be worth it
    reader = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM t").fetchone()
    db.execute("INSERT INTO t VALUES (zeroblob(?))", [SIZE])
    wal.checkpoint(db)
    assert (held := file.stat().st_size) > SIZE  # somebody reads
    reader.execute("COMMIT")
    wal.checkpoint(db)
    assert file.stat().st_size == held  # writers waited just now: not again before as much has come
    db.execute("INSERT INTO t VALUES (zeroblob(?))", [SIZE])
    wal.checkpoint(db)
    assert file.stat().st_size == 0
    reader.close()
