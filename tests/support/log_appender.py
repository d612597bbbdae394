"""Appends to a log, as a shard does, and says after each batch how long the record of the disk is by then.

python log_appender.py LOG JOURNAL BATCHES SYNCHRONOUS
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from aoray.contracts.shard import Receipt, Submission
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.scheduler.committer import Committer
from aoray.scheduler.placement import Placement
from aoray.storage.log import SqliteLog


def main(path: Path, journal: Path, batches: int, synchronous: str) -> None:
    def opened() -> SqliteLog:
        log = SqliteLog(path)
        if synchronous:
            log._db.execute(f"PRAGMA synchronous={synchronous}")
        return log

    user, scheduler = generate_ed25519(), generate_ed25519()
    committer = Committer(opened, Placement(1), scheduler, lambda _: {})
    said = {"Data-Protocol": "ao", "Type": "Process", "Module": user.address, "Scheduler": scheduler.address}
    process = build(user, tags=[Tag(*tag) for tag in said.items()], data=b" ")
    sent = [Tag("Data-Protocol", "ao"), Tag("Type", "Message")]
    submissions = [Submission("process", process.id, process.id, process.raw)]
    for number in range(batches):
        committed = committer.commit(submissions, now_ms=number, block_height=1)
        for outcome in committed.outcomes:
            assert isinstance(outcome, Receipt), outcome
            print(json.dumps([outcome.process_id, outcome.message_id, journal.stat().st_size]))
        items = [
            build(user, target=process.id, tags=sent, data=os.urandom(700)) for _ in range(1 + number % 5)
        ]
        submissions = [Submission("message", process.id, item.id, item.raw) for item in items]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
