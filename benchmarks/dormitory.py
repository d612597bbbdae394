"""Many processes that are spawned, messaged, left alone until they hibernate, and woken: what `density` and
`wake` measure, and tests/e2e/test_hibernation.py checks.

Each process counts its messages and says the count, so every answer shows whether anything was lost or done
twice. That all sleep is seen in the index of checkpoints: each has one of its last message.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer
from benchmarks.guests import PLAIN_FORMAT, Guest, guest
from benchmarks.http import Connection, prepare
from benchmarks.load import Measured, Prepared, closed_loop, exchange
from benchmarks.report import Report
from benchmarks.running import Meter, own_computer

Row = dict[str, object]
SPAWNS_AT_ONCE = 64
MESSAGES_MAX = 3  # of each process, before it sleeps
POLL_S = 0.1
LAST = """SELECT count(*) FROM checkpoints c
WHERE nonce = (SELECT max(nonce) FROM results r WHERE r.process_id = c.process_id)"""
KEPT = "SELECT count(*), sum(bytes) FROM (SELECT DISTINCT file, bytes FROM checkpoints)"


class Memory(NamedTuple):
    """In bytes."""

    all: int
    actors: int


@dataclass
class Dormitory:
    """Processes of one computer, and how many messages each has counted."""

    computer: LocalComputer
    guest: Guest
    counts: dict[str, int] = field(default_factory=dict)

    async def spawn(self, processes: int) -> float:
        """Spawn so many, and wait until all have booted; seconds."""
        async with Client(self.computer.url, generate_ed25519()) as client:
            module, health = await self.guest.publish(client), await client.health()
            program = self.guest.program
            items = [
                client.process(health, module=module, data=program, on_boot=bool(program))
                for _ in range(processes)
            ]
        heads = [prepare("GET", f"/result/{item.id}?process-id={item.id}") for item in items]
        spawns = [Prepared(prepare("POST", "/", i.raw), head) for i, head in zip(items, heads, strict=True)]
        booted = await closed_loop(self.computer.url, replace(self.guest, answer=b""), spawns, SPAWNS_AT_ONCE)
        if booted.wrong:
            raise RuntimeError(f"{self.guest.name} does not boot: {booted.wrong[0]}")
        self.counts |= dict.fromkeys((item.id for item in items), 0)
        return booted.wall

    async def message(self, targets: Sequence[str], clients: int) -> Measured:
        """One message after another to these processes, by so many clients; every answer is checked."""
        signer = generate_ed25519()
        work: list[tuple[Prepared, Guest]] = []
        async with Client(self.computer.url, signer) as client:
            for target in targets:
                item = client.message(target, action="Ping")
                path = f"/result/{item.id}?process-id={target}"
                self.counts[target] += 1
                answer = b'pong %d"' % self.counts[target]
                prepared = Prepared(prepare("POST", "/", item.raw), prepare("GET", path))
                work.append((prepared, replace(self.guest, answer=answer)))
        into = Measured()

        async def drive(mine: Sequence[tuple[Prepared, Guest]]) -> None:
            line = Connection(self.computer.url)
            for prepared, expected in mine:
                await exchange(line, prepared, time.perf_counter(), expected, into)
            line.close()

        meter = Meter(self.computer)
        began = time.perf_counter()
        number = {process: n for n, process in enumerate(self.counts)}
        shares: list[list[tuple[Prepared, Guest]]] = [[] for _ in range(clients)]
        for target, each in zip(targets, work, strict=True):  # a process's messages go one after another
            shares[number[target] % clients].append(each)
        await asyncio.gather(*map(drive, shares))
        into.wall = time.perf_counter() - began
        into.cost = meter.columns()
        return into

    async def asleep(self, seconds: float) -> float:
        """Wait until all sleep; seconds."""
        began = time.perf_counter()
        async with asyncio.timeout(seconds):
            # Another OS process writes it
            while (await asyncio.to_thread(self._ask, LAST))[0] < len(self.counts):  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
        return time.perf_counter() - began

    def kept(self) -> tuple[int, int]:
        """How many checkpoint files there are, and their bytes."""
        files, size = self._ask(KEPT)
        return files, size or 0

    def disk_bytes(self) -> int:
        """What its directory takes of the disk, logs, results and Arweave and all."""
        files = (file.stat() for file in self.computer.data.rglob("*") if file.is_file())
        return sum(512 * stat.st_blocks for stat in files)

    def memory(self) -> Memory:
        """Bytes that the whole computer holds, and those of its process actors."""
        parts = self.computer.memory_bytes()
        return Memory(sum(parts.values()), parts["ProcessActor"])

    def _ask(self, query: str) -> Any:
        path = self.computer.data / "results.sqlite"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchone()


def targets_of(processes: Sequence[str], seed: int) -> list[str]:
    """Each process one to MESSAGES_MAX times, in an order that the seed gives."""
    chance = random.Random(seed)
    targets = [process for process in processes for _ in range(chance.randint(1, MESSAGES_MAX))]
    chance.shuffle(targets)
    return targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of both benchmarks."""
    parser.add_argument("--module", default="lua", help="lua or aos; both with a comma")
    parser.add_argument("--processes", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--idle-seconds", type=int, default=30, help="after which a process hibernates")


@contextmanager
def dormitory_for(name: str, idle_seconds: int, residents: int = 1_000_000) -> Iterator[Dormitory]:
    """A computer of our own, whose processes hibernate after this time, or for want of room if there is no
    more than for so many in one actor."""
    settings = {
        "AORAY_IDLE_SECONDS_MAX": str(idle_seconds),
        "AORAY_RESIDENT_PROCESSES_MAX": str(residents),
    }
    with own_computer(environment=settings) as computer:
        yield Dormitory(computer, guest(name, "count", PLAIN_FORMAT))


def report_of(
    name: str,
    description: str,
    arguments: argparse.Namespace,
    measured: Callable[[Dormitory, argparse.Namespace], Awaitable[Sequence[Row]]],
) -> Report:
    """The rows of each module, each with a computer of its own."""

    async def rows_of(dormitory: Dormitory) -> Sequence[Row]:
        return await measured(dormitory, arguments)

    rows: list[Row] = []
    hashes = {}
    for guest_name in arguments.module.split(","):
        with dormitory_for(guest_name, idle_seconds=arguments.idle_seconds) as dormitory:
            rows += asyncio.run(rows_of(dormitory))
            hashes[guest_name] = dormitory.guest.sha256
    return Report(name, description, vars(arguments) | {"module_sha256": hashes}, rows)
