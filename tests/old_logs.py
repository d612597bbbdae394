"""Data directories that older versions of aoray left behind (tests/fixtures/engine-<version>), for the tests
that hold today's code to them: their processes go on, and every result is what it was."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from aoray.protocol.assignments import LogEntry
from aoray.protocol.keys import Ed25519Signer

FIXTURES = Path(__file__).parent / "fixtures"
ENTRY = "process_id, nonce, message_id, assignment_id, timestamp, item, assignment"


class OldLog(NamedTuple):
    """A data directory, unpacked, the processes in it by what each is for, and the wallet that owns them."""

    data: Path
    processes: dict[str, str]
    owner: Ed25519Signer

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
    return OldLog(directory, {key: value["id"] for key, value in named.items()}, Ed25519Signer(seed))
