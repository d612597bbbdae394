"""Many more processes than fit into the actors' memory are registered, and some of them messaged at random:
every answer is right, nobody is restarted. `AORAY_MANY=20000` runs it with so many."""

from __future__ import annotations

import argparse
import os

import pytest

from benchmarks.dormitory import dormitory_for
from benchmarks.many import soak

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

PROCESSES = int(os.environ.get("AORAY_MANY", "1000"))
MESSAGED = PROCESSES // 10
SECONDS = PROCESSES / 20_000 * 120
RESIDENTS = PROCESSES // 20  # of one actor
MIB_EACH_MAX = 0.25  # of the whole computer, for each process that is registered, awake or asleep
KIB_ON_DISK_MAX = 50


async def test_many_processes_are_registered_and_some_messaged(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = argparse.Namespace(processes=PROCESSES, messaged=MESSAGED, seconds=SECONDS, clients=16, seed=1)
    with dormitory_for("lua", idle_seconds=600, residents=RESIDENTS) as dormitory:
        many = await soak(dormitory, sizes)
    assert not many.measured.wrong, many.measured.wrong[:3]
    assert sum(dormitory.counts.values()) == len(many.measured.answered) >= MESSAGED
    assert many.restarted == 0
    empty, *_, peak = many.watched.mib[0], max(many.watched.mib)
    assert peak - empty < MIB_EACH_MAX * PROCESSES
    assert many.disk_kib_each < KIB_ON_DISK_MAX
    with capsys.disabled():
        print(f"\n{PROCESSES} processes, {MESSAGED} messaged: {many.row()}")
