"""What was acknowledged survives a power cut at any moment (design.md G2).

Every write, sync, rename, … of a run is recorded (`recorder.c`), and from the record are made states that a
disk may be in after the power was cut at random moments: with what was synced, and any part of the rest
(`disk.py`). Of each such state everything opens, and the log has every item that was acknowledged before.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from disk import recording, records, states
from survival import Acknowledged, missing

BATCHES = 150
CUTS = 60
APPENDING = Path(__file__).with_name("appending.py")


def losses(
    recorder: Path, root: Path, states_in: Path, source: random.Random, synchronous: str = ""
) -> list[tuple[int, list[str]]]:
    """What is missing after power cuts, of what a log's writer had acknowledged."""
    journal = states_in / "journal"
    words = (str(APPENDING), str(root / "log-0.sqlite"), str(journal), str(BATCHES), synchronous)
    environment = os.environ | recording(recorder, root, journal)
    done = subprocess.run(
        [sys.executable, *words], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    acknowledged = [Acknowledged(*json.loads(line)) for line in done.stdout.splitlines()]
    calls = list(records(journal))
    cuts = [source.randrange(1, len(calls)) for _ in range(CUTS)]
    found = (
        (at, missing(state, acknowledged, at)) for at, state in states(root, calls, states_in, cuts, source)
    )
    return [(at, lost) for at, lost in found if lost]


def test_a_log_holds_what_it_acknowledged(
    recorder: Path, root: Path, states_in: Path, source: random.Random
) -> None:
    assert not losses(recorder, root, states_in, source)


def test_a_log_that_does_not_sync_each_commit_is_found_out(
    recorder: Path, root: Path, states_in: Path, source: random.Random
) -> None:
    assert losses(recorder, root, states_in, source, "NORMAL")
