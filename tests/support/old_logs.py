"""Data directories that older versions of aoray left behind (tests/fixtures/engine-<version>), for the tests
that hold today's code to them: their processes go on, and every result is what it was."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from aoray.protocol.assignments import LogEntry
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.storage.postgres import parse_store_url

FIXTURES = Path(__file__).parents[1] / "fixtures"
ENTRY = "process_id, nonce, message_id, assignment_id, timestamp, item, assignment"


class OldLog(NamedTuple):
    """A data directory, unpacked, the processes in it by what each is for, and the wallet that owns them."""

    data: Path
    processes: dict[str, str]
    owner: Ed25519Signer
    verified: dict[str, dict[str, Any]]  # by process id, what the code that wrote it says of it

    def entries(self, process_id: str) -> Iterator[tuple[LogEntry, bytes]]:
        """The log of a process, each entry with the result that was stored for it."""
        with (
            sqlite3.connect(self.data / "log-0.sqlite") as log,
            sqlite3.connect(self.data / "results.sqlite") as db,
        ):
            rows = log.execute(
                f"SELECT {ENTRY} FROM entries WHERE process_id = ? ORDER BY nonce", (process_id,)
            )
            query = "SELECT result FROM results WHERE process_id = ? AND nonce = ?"
            for row in rows:
                (result,) = db.execute(query, row[:2]).fetchone()
                yield LogEntry(*row), bytes(result)

    def process_ids(self) -> list[str]:
        """All of them, those too that processes spawned."""
        with sqlite3.connect(self.data / "log-0.sqlite") as log:
            return [row[0] for row in log.execute("SELECT process_id FROM processes ORDER BY process_id")]


def unpacked(name: str, directory: Path) -> OldLog:
    """The data directory of that fixture, as it was when its computer stopped."""
    with tarfile.open(FIXTURES / name / "data.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    named = json.loads((FIXTURES / name / "processes.json").read_text())
    seed = sha256(name.replace("-", " ").encode()).digest()
    verified = json.loads((FIXTURES / name / "verified.json").read_text())
    ids = {key: value["id"] for key, value in named.items()}
    return OldLog(directory, ids, Ed25519Signer(seed), verified)


def in_postgres(name: str, old: OldLog, url: str) -> None:
    """The log and the results of a data directory in a PostgreSQL, in the tables that its code made there."""
    schema = parse_store_url(url).schema
    script = (FIXTURES / name / "postgres.sql").read_text().replace("aoray", schema)
    script = "".join(line for line in script.splitlines(True) if not line.startswith("\\"))
    with psycopg.connect(parse_store_url(url).conninfo, autocommit=True) as db:
        db.execute(script.encode())
        for file, target in (("log-0.sqlite", f"{schema}_log_0"), ("results.sqlite", schema)):
            with sqlite3.connect(old.data / file) as lite:
                _copy(lite, db, target)


def _copy(lite: sqlite3.Connection, db: psycopg.Connection[Any], schema: str) -> None:
    """All rows of all tables, and where their sequences go on."""
    for (table,) in lite.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        rows = lite.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in rows.description]
        db.execute(f"DELETE FROM {schema}.{table}".encode())
        values = ", ".join(["%s"] * len(names))
        query = f"INSERT INTO {schema}.{table} ({', '.join(names)}) VALUES ({values})"
        with db.cursor() as cursor:
            cursor.executemany(query.encode(), rows.fetchall())
        if names[0] == "seq":
            last = f"(SELECT greatest(max(seq), 1) FROM {schema}.{table})"
            db.execute(f"SELECT setval('{schema}.{table}_seq_seq', {last})".encode())
