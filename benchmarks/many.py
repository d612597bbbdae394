"""Very many processes on one machine, most of them asleep: registered, then some are messaged at random.

Each answer is checked against the count of messages that its process has had, so one that was lost, doubled
or done twice shows. Memory is looked at all the while; an actor that was restarted (for want of memory, or a
fault) has another pid. As it stands (20,000 processes, 2,000 messaged for 2 minutes) it takes some
minutes; tests/e2e/test_many.py runs a small one.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aoray.testing.local_computer import LocalComputer
from benchmarks.dormitory import Dormitory, dormitory_for
from benchmarks.load import Measured, milliseconds
from benchmarks.report import Report

NAME = "many"
DESCRIPTION = "many processes registered, some of them messaged at random for a while"
WATCH_S = 3.0
ROUND = 500  # messages that are signed ahead


@dataclass
class Watched:
    """What was seen of a computer's OS processes while it was watched."""

    actors: set[int] = field(default_factory=set)
    mib: list[float] = field(default_factory=list)
    maps_max: int = 0
    files_max: int = 0

    def look(self, computer: LocalComputer) -> None:
        """Once."""
        pids = computer.actors("ProcessActor")
        self.actors.update(pids)
        self.mib.append(round(sum(computer.memory_bytes().values()) / 2**20, 1))
        for pid in pids:
            maps = Path(f"/proc/{pid}/maps").read_bytes().count(b"\n")
            self.maps_max = max(self.maps_max, maps)
            self.files_max = max(self.files_max, len(list(Path(f"/proc/{pid}/fd").iterdir())))


@dataclass
class Many:
    """What came of it."""

    spawn_s: float
    disk_kib_each: float
    measured: Measured
    watched: Watched
    restarted: int

    def row(self) -> dict[str, object]:
        """In a table's terms."""
        p50, _, p99 = milliseconds(self.measured.answered)
        return {
            "spawn_s": round(self.spawn_s, 1),
            "messages": len(self.measured.answered),
            "failed": len(self.measured.wrong),
            "messages_per_s": round(len(self.measured.answered) / self.measured.wall, 1),
            "p50_ms": p50,
            "p99_ms": p99,
            "empty_mib": self.watched.mib[0],
            "peak_mib": max(self.watched.mib),
            "end_mib": self.watched.mib[-1],
            "disk_kib_each": self.disk_kib_each,
            "maps_max": self.watched.maps_max,
            "files_max": self.watched.files_max,
            "restarted": self.restarted,
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--module", default="lua", help="lua or aos")
    parser.add_argument("--processes", type=int, default=20_000)
    parser.add_argument("--messaged", type=int, default=2_000, help="of them, at random")
    parser.add_argument("--seconds", type=float, default=120, help="for which messages are sent")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--idle-seconds", type=int, default=600, help="after which a process hibernates")
    parser.add_argument("--residents", type=int, default=1_000, help="processes in one actor's memory")


def run(arguments: argparse.Namespace) -> Report:
    """One row."""
    with dormitory_for(arguments.module, arguments.idle_seconds, arguments.residents) as dormitory:
        many = asyncio.run(soak(dormitory, arguments))
    row = {"module": arguments.module, "processes": arguments.processes, **many.row()}
    parameters = vars(arguments) | {"module_sha256": {arguments.module: dormitory.guest.sha256}}
    return Report(NAME, DESCRIPTION, parameters, [row])


async def soak(dormitory: Dormitory, arguments: argparse.Namespace) -> Many:
    """Register so many, and message so many of them."""
    chance = random.Random(arguments.seed)
    await dormitory.spawn(1)
    before, watched = dormitory.disk_bytes(), Watched()
    watched.look(dormitory.computer)
    pids = set(watched.actors)
    async with _watching(dormitory.computer, watched):
        spawn_s = await dormitory.spawn(arguments.processes - 1)
        disk = dormitory.disk_bytes() - before
        some = chance.sample(list(dormitory.counts), arguments.messaged)
        measured = Measured()
        deadline = time.perf_counter() + arguments.seconds
        while time.perf_counter() < deadline:
            done = await dormitory.message(chance.choices(some, k=ROUND), arguments.clients)
            measured.wall += done.wall
            measured.answered += done.answered
            measured.wrong += done.wrong
    watched.look(dormitory.computer)
    disk_kib = round(disk / arguments.processes / 1024, 1)
    return Many(spawn_s, disk_kib, measured, watched, len(watched.actors - pids))


@asynccontextmanager
async def _watching(computer: LocalComputer, watched: Watched) -> AsyncIterator[None]:
    """Look all the while."""

    async def look_for_ever() -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            await asyncio.to_thread(watched.look, computer)

    looking = asyncio.create_task(look_for_ever())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
