"""A whole computer's power is cut at random moments of a run under load.

As in test_power_cut.py, for everything under the data directory: logs, results, checkpoints, Arweave, keys.
One state in twelve is booted: the computer starts, goes on, and its books are right to the last message.
POWER_CUTS is how many states are looked at (12; `make chaos` 60).
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path

import pytest
from account_books import Books, check_supply
from chaos_economy import Economy, found
from power_cut_checks import Acknowledged, check_directory, check_keys, missing
from recorded_disk import recording, records, states

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ENVIRONMENT = {"AORAY_SHARDS": "2", "AORAY_RESIDENT_PROCESSES_MAX": "10"}
ITEMS = 300
CUTS = int(os.environ.get("POWER_CUTS", "12"))
BOOTS = CUTS // 12
SETTLE_SECONDS_MAX = 240


class Dated(dict[str, str]):
    """What was acknowledged, with how long the record was by then."""

    def __init__(self, journal: Path, over: asyncio.Event) -> None:
        super().__init__()
        self.journal, self.over = journal, over
        self.at: dict[str, int] = {}

    def __setitem__(self, message: str, process: str) -> None:
        super().__setitem__(message, process)
        self.at[message] = self.journal.stat().st_size
        if len(self) >= ITEMS:
            self.over.set()


async def run(recorder: Path, root: Path, journal: Path, seed: int) -> tuple[Economy, Dated]:
    """A recorded run, that ends by kill -9 of everything while the clients are at work."""
    over = asyncio.Event()
    acknowledged = Dated(journal, over)
    with LocalComputer(root, environment=ENVIRONMENT | recording(recorder, root, journal)) as computer:
        economy = await found(computer)
        for message, process in economy.acknowledged.items():
            acknowledged[message] = process
        economy.acknowledged = acknowledged
        working = asyncio.create_task(economy.run(computer, seed, asyncio.Event()))
        async with asyncio.timeout(SETTLE_SECONDS_MAX):
            await over.wait()
        await asyncio.to_thread(computer.kill)
        working.cancel()
    return economy, acknowledged


async def test_a_power_cut_takes_nothing_that_was_acknowledged(
    recorder: Path, root: Path, states_in: Path, tmp_path: Path, source: random.Random
) -> None:
    journal = states_in / "journal"
    economy, acknowledged = await run(recorder, root, journal, source.randrange(1000))
    dated = [Acknowledged(process, id, acknowledged.at[id]) for id, process in acknowledged.items()]
    calls, first_at = list(records(journal)), min(acknowledged.at.values())
    first = sum(1 for call in calls if call.end <= first_at)  # of those after which all processes are there
    cuts = [source.randrange(1, len(calls)) for _ in range(CUTS)]
    booted = [source.randrange(first, len(calls)) for _ in range(BOOTS)]
    print(f"{len(calls)} calls, {calls[-1].end} bytes, {len(dated)} acknowledged; boots at {booted}")
    kept: list[tuple[int, Path]] = []
    for at, state in states(root, calls, states_in, [*cuts, *booted], source):
        if int(state.name.split("-")[1]) in booted:
            kept.append((at, Path(shutil.copytree(state, tmp_path / state.name / "data"))))
        assert not missing(state, dated, at)
        check_directory(state)
        if at >= first_at:
            check_keys(state, root)
    for at, state in kept:
        economy.acknowledged = {each.message: each.process for each in dated if each.at <= at}
        await boot(state, economy)


async def boot(state: Path, economy: Economy) -> None:
    """Start a computer on what the cut has left; all comes to rest, and nothing is lost or double."""
    with LocalComputer(state, environment=ENVIRONMENT) as computer:
        books = await Books.made(computer, economy)
        books.check_messages(economy)
        books.check_results(computer)
        async with Client(computer.url, generate_ed25519()) as client:
            await check_supply(client, economy)
