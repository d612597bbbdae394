"""What was acknowledged survives a power cut at any moment.

Every write, sync, rename, … of a run is recorded (`recorder.c`), and from the record are made states that a
disk may be in after the power was cut at random moments: with what was synced, and any part of the rest
(`tests/support/recorded_disk.py`). Of each such state everything opens, and the log has every item that was
acknowledged before.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from power_cut_checks import Acknowledged, missing
from recorded_disk import Disk, recording, records, states

BATCHES = 150
CUTS = 60
APPENDING = Path(__file__).parents[1] / "support/log_appender.py"


def appended(recorder: Path, root: Path, journal: Path, synchronous: str = "") -> list[Acknowledged]:
    """Run a log's writer; what it has acknowledged."""
    words = (str(APPENDING), str(root / "log-0.sqlite"), str(journal), str(BATCHES), synchronous)
    environment = os.environ | recording(recorder, root, journal)
    done = subprocess.run(
        [sys.executable, *words], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return [Acknowledged(*json.loads(line)) for line in done.stdout.splitlines()]


def losses(
    recorder: Path, root: Path, states_in: Path, source: random.Random, synchronous: str = ""
) -> list[tuple[int, list[str]]]:
    """What is missing after power cuts, of what a log's writer had acknowledged."""
    journal = states_in / "journal"
    acknowledged = appended(recorder, root, journal, synchronous)
    calls = list(records(journal))
    cuts = [source.randrange(1, len(calls)) for _ in range(CUTS)]
    found = (
        (at, missing(state, acknowledged, at)) for at, state in states(root, calls, states_in, cuts, source)
    )
    return [(at, lost) for at, lost in found if lost]


def test_the_record_is_of_all_that_was_written(recorder: Path, root: Path, states_in: Path) -> None:
    journal, disk = states_in / "journal", Disk(root)
    appended(recorder, root, journal)
    for record in records(journal):
        disk.apply(record)
    there = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    told = disk.now()
    assert told.keys() == there.keys()
    assert not [path for path in there if told[path] != there[path] and not path.name.endswith("-shm")]


def test_a_log_holds_what_it_acknowledged(
    recorder: Path, root: Path, states_in: Path, source: random.Random
) -> None:
    assert not losses(recorder, root, states_in, source)


def test_a_log_that_does_not_sync_each_commit_is_found_out(
    recorder: Path, root: Path, states_in: Path, source: random.Random
) -> None:
    assert losses(recorder, root, states_in, source, "NORMAL")


def test_a_note_is_there_whole_or_not_at_all(
    recorder: Path, root: Path, states_in: Path, source: random.Random
) -> None:
    journal, note = states_in / "journal", root / "notes" / "shards"
    program = (
        "from pathlib import Path; from aoray.storage import durable_files as durable\n"
        f"note = Path({str(note)!r}); durable.make_directory(note.parent)\n"
        "for text in (b'1' * 9000, b'2' * 9000):\n"
        f"    durable.write_atomic(note, text); print(Path({str(journal)!r}).stat().st_size)"
    )
    environment = os.environ | recording(recorder, root, journal)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    written = [0, *map(int, done.stdout.split())]
    calls = list(records(journal))
    every = [cut for cut in range(1, len(calls) + 1) for _ in range(5)]
    for at, state in states(root, calls, states_in, every, source):
        there = state / "notes" / "shards"
        text = there.read_bytes() if there.exists() else b""
        acknowledged = max(number for number, end in enumerate(written) if end <= at)
        assert text in ([b"", b"1" * 9000, b"2" * 9000][acknowledged:])
