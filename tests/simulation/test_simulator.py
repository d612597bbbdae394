"""The simulator finds bugs: each of these, put in by hand, within 200 seeds. And one seed is one run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sim_checks import report, run
from sim_computer import Simulation
from sim_disk import SimLog, SimResults
from sim_parts import Kinds
from sim_world import HOST

from aoray.contracts.shard import Work
from aoray.protocol.assignments import LogEntry
from aoray.storage.deliveries import Deliveries
from aoray.storage.records import ProcessState, ResultRow, Settlement, Slot

SEEDS_MAX = 200
ROOT = Path(__file__).parents[2]


class AcknowledgesFirst(SimLog):
    """Says that a batch is written, and writes it just before it is next looked at."""

    def __init__(self, path: Path) -> None:
        self._unwritten: list[tuple[Any, ...]] = []
        super().__init__(path)
        next_upload = self.uploads.next
        self.uploads.next = lambda: (self._write(), next_upload())[1]  # type: ignore[method-assign]

    def append(
        self, entries: Sequence[LogEntry], changed: Mapping[str, ProcessState], block_height: int, *crons: Any
    ) -> None:
        self._unwritten.append((entries, changed, block_height, *crons))
        if any(crons):  # who makes ticks looks again at once
            self._write()

    def _write(self) -> None:
        while self._unwritten:
            super().append(*self._unwritten.pop(0))

    def processes(self, process_ids: Iterable[str]) -> dict[str, ProcessState]:
        self._write()
        return super().processes(process_ids)


class ForgetsDedupe(SimLog):
    """Does not know what it has scheduled before, neither in the rules nor in the schema."""

    def _create(self) -> None:
        super()._create()
        self._db.execute("DROP INDEX IF EXISTS entries_by_message")

    def slots(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Slot]:
        return {}


class TellsFirst(SimLog):
    """Tells the process actors before the log is written: outboxes are pushed of slots that may never be."""

    def append(
        self, entries: Sequence[LogEntry], changed: Mapping[str, ProcessState], block_height: int, *crons: Any
    ) -> None:
        host = HOST.get()
        shard = host.actor if host else None
        for entry in entries if shard else ():
            state = changed[entry.process_id]
            shard._dispatcher(state.actor).push([Work(state.term, entry)])
        super().append(entries, changed, block_height, *crons)


class AttestsLater(SimLog):
    """Moves the attester's cursors before its items are written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        keep, publish = self.attested.keep, self.uploads.publish
        self.attested.keep = lambda items, cursors: (keep([], cursors), publish(items))[1]  # type: ignore[method-assign]


class MarksFirst(SimResults):
    """Takes an outbox for sent as soon as somebody begins to send it."""

    def at(self, process_id: str, nonce: int) -> ResultRow | None:
        row = super().at(process_id, nonce)
        if row is not None and not row.pushed and HOST.get() is not None:
            Deliveries.settle(self.deliveries, [Settlement(process_id, nonce, (), done=True)])
        return row


BUGS = {
    "acknowledge before the write": (Kinds(log=AcknowledgesFirst), ("acknowledged",)),
    "forget the dedupe": (Kinds(log=ForgetsDedupe), ("twice",)),
    "push before durable": (Kinds(log=TellsFirst), ("replay", "from nowhere", "tokens")),
    "attest before durable": (Kinds(log=AttestsLater), ("attested",)),
    "mark before it is sent": (Kinds(results=MarksFirst), ("delivery", "tokens")),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found_by_the_checker_it_is_for(bug: str) -> None:
    kinds, checkers = BUGS[bug]
    for seed in range(SEEDS_MAX):
        found = run(seed, kinds)
        if any(line.startswith(checkers) for line in found):
            print(f"{bug}: found with seed {seed}: {found[0]}")
            return
    pytest.fail(f"{bug}: not found in {SEEDS_MAX} seeds")


def test_a_failure_says_how_to_see_it_again() -> None:
    kinds, _ = BUGS["forget the dedupe"]
    seed = next(seed for seed in range(SEEDS_MAX) if run(seed, kinds))
    assert f"AORAY_SEED={seed} " in report(seed, run(seed, kinds))
    assert run(seed, kinds) == run(seed, kinds)


@cache
def digest(seed: int) -> str:
    simulation = Simulation(seed)
    try:
        simulation.run()
        story = [*simulation.world.events, *map(repr, simulation.clients.history.acknowledged)]
        return hashlib.sha256("\n".join(story).encode()).hexdigest()
    finally:
        simulation.close()


def test_one_seed_is_one_run_in_every_python() -> None:
    program = "from test_simulator import digest; print(digest(2), digest(5))"
    for hash_seed in ("1", "2"):
        environment = os.environ | {
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}:{ROOT}/tests/support",
        }
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [digest(2), digest(5)]


def test_another_seed_is_another_run() -> None:
    assert digest(2) != digest(5)
