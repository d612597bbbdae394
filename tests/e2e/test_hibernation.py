"""A thousand processes are spawned, messaged, hibernated and woken: memory comes back, counts are right."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from benchmarks.dormitory import Dormitory, Memory, dormitory_for, targets_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

PROCESSES = 1000
IDLE_SECONDS = 10
HIBERNATION_SECONDS_MAX = 120


@pytest.fixture
def dormitory() -> Iterator[Dormitory]:
    with dormitory_for("lua", IDLE_SECONDS) as opened:
        yield opened


async def test_a_thousand_processes_hibernate_and_wake_with_their_counts(
    dormitory: Dormitory, capsys: pytest.CaptureFixture[str]
) -> None:
    await dormitory.spawn(1)
    empty = dormitory.memory()
    await dormitory.spawn(PROCESSES - 1)
    spawned = dormitory.memory()
    processes = list(dormitory.counts)
    messaged = await dormitory.message(targets_of(processes, seed=1), clients=16)
    assert not messaged.wrong
    resident = max(spawned, dormitory.memory())  # the first may sleep already

    await dormitory.asleep(HIBERNATION_SECONDS_MAX)
    asleep = dormitory.memory()
    files, size = dormitory.kept()
    assert asleep.actors - empty.actors < (resident.actors - empty.actors) / 2

    random.Random(2).shuffle(processes)
    woken = await dormitory.message(processes, clients=4)
    assert not woken.wrong, woken.wrong[:3]
    assert len(woken.answered) == PROCESSES
    with capsys.disabled():
        print(
            f"\n{PROCESSES} processes: {told(empty)} empty, {told(resident)} messaged, {told(asleep)} asleep;"
        )
        print(f"{files} checkpoints of {size / files / 1024:.1f} KiB; woken: {woken.row()}")


def told(memory: Memory) -> str:
    return f"{memory.all >> 20} MiB ({memory.actors >> 20} of actors)"
