"""What was acknowledged survives a power cut at any moment (design.md G2).

Every write, sync, rename, … of a run is recorded (`recorder.c`), and from the record are made states that a
disk may be in after the power was cut at random moments: with what was synced, and any part of the rest
(`disk.py`). Of each such state everything opens, and the log has every item that was acknowledged before.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from disk import Disk, records, recording

from aoray.scheduler.log import SqliteLog
from aoray.scheduler.reader import LogReader

SEED = int(os.environ.get("POWER_CUT_SEED", random.SystemRandom().randrange(1_000_000)))
BATCHES = 150
CUTS = 60
APPENDING = Path(__file__).with_name("appending.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory whose disk it is, and that is on it."""
    root = tmp_path.resolve() / "data"
    root.mkdir()
    return root


def states(root: Path, journal: Path, folder: Path, cuts: list[int], source: random.Random) -> Iterator[tuple[int, Path]]:
    """States of the disk after power cuts behind so many records: where the journal is there, and the state."""
    disk, left = Disk(root), sorted(cuts, reverse=True)
    for number, record in enumerate(records(journal), 1):
        disk.apply(record)
        while left and left[-1] <= number:
            left.pop()
            state = folder / f"{number}-{len(left)}"
            disk.image(state, source)
            yield record.end, state


def appended(tmp_path: Path, root: Path, synchronous: str) -> tuple[Path, list[tuple[str, str, int]]]:
    """Run the appending program, recorded; gives the journal and what was acknowledged."""
    journal = tmp_path / "journal"
    command = [sys.executable, str(APPENDING), str(root / "log-0.sqlite"), str(journal), str(BATCHES), synchronous]
    environment = os.environ | recording(tmp_path, root, journal)
    said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return journal, [tuple(json.loads(line)) for line in said.splitlines()]


def missing(state: Path, acknowledged: list[tuple[str, str, int]], at: int) -> list[str]:
    """What was acknowledged by then and is not in the log; the log opens for writing as well."""
    path = state / "log-0.sqlite"
    due = [(process, message) for process, message, end in acknowledged if end <= at]
    if not due and not path.exists():
        return []
    log = SqliteLog(path)
    log.take_over()
    log.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    reader = LogReader(path)
    lost = [message for process, message in due if reader.entry(process, message) is None]
    for process in reader.process_ids():
        nonces = [entry.nonce for entry in reader.entries(process)]
        assert nonces == list(range(len(nonces)))
        assert reader.latest(process) == reader.entries(process)[-1]
    reader.close()
    return lost


def losses(tmp_path: Path, root: Path, synchronous: str) -> list[tuple[int, list[str]]]:
    source = random.Random(SEED)
    journal, acknowledged = appended(tmp_path, root, synchronous)
    total = sum(1 for _ in records(journal))
    cuts = [source.randrange(total) for _ in range(CUTS)]
    print(f"POWER_CUT_SEED={SEED}: {total} calls, {journal.stat().st_size} bytes, {len(acknowledged)} acknowledged")
    found = []
    for at, state in states(root, journal, tmp_path / "states", cuts, source):
        if lost := missing(state, acknowledged, at):
            found.append((at, lost))
    return found


def test_the_log_holds_what_it_acknowledged(tmp_path: Path, root: Path) -> None:
    assert not losses(tmp_path, root, "")


def test_a_log_that_does_not_sync_is_found_out(tmp_path: Path, root: Path) -> None:
    assert losses(tmp_path, root, "NORMAL")
