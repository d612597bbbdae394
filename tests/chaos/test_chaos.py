"""Nothing is lost and nothing happens twice while everything is killed, again and again.

A token process and 50 wallets' processes pay each other while actors are killed at random every few seconds,
and the whole tree twice. At the end the supply is conserved, every acknowledged item was scheduled once,
every outbox message was delivered once and nothing else was, every slot has its result, and `aoray verify`
makes the token process again from Arweave alone.

CHAOS_SECONDS is how long it lasts (60; `make chaos` 300), CHAOS_SEED what happens (printed; the times at
which the machine gets to things are its own). When it fails, what the computer said and kept stays where
the failure says.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from account_books import Books, check_supply
from chaos_economy import found, until

from aoray.arweave.client import ArweaveClient
from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer, send_kill

SECONDS = int(os.environ.get("CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(1_000_000)))
SETTLE_SECONDS_MAX = 240 + SECONDS
KINDS = ("ProcessActor", "ProcessActor", "ShardActor", "GatewayActor")
ENVIRONMENT = {"AORAY_SHARDS": "2", "AORAY_GATEWAYS": "2", "AORAY_RESIDENT_PROCESSES_MAX": "10"}
QUERY = """query ($process: String!, $nonce: String!) { transactions(tags: [
  {name: "Type", values: ["Assignment"]}, {name: "Process", values: [$process]},
  {name: "Nonce", values: [$nonce]}]) { edges { node { id } } } }"""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600 + 4 * SECONDS)]


@dataclass
class Wrecker:
    """Kills actors at random, or stops them for a moment, and kills everything at two moments."""

    computer: LocalComputer
    source: random.Random
    seconds: float
    killed: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        begin, never = clock(), asyncio.Event()
        whole = [self.seconds / 3, self.seconds * 2 / 3]
        while whole or clock() - begin < self.seconds:
            await until(never, self.source.uniform(0.5, 3))
            if whole and clock() - begin >= whole[0]:
                del whole[0]
                await asyncio.to_thread(self.computer.kill)
                keep_logs(self.computer, f"before-{self.killed['everything'] + 1}")
                await asyncio.to_thread(self.computer.start)
                self.killed["everything"] += 1
            elif self.source.random() < 0.15:
                await self._stop_one()
            else:
                await asyncio.to_thread(self._kill_some)

    async def _stop_one(self) -> None:
        """It answers nothing for a while, and then goes on as if nothing had been."""
        there = await asyncio.to_thread(self.computer.actors, self.source.choice(KINDS))
        with contextlib.suppress(ProcessLookupError):
            for pid in there[:1]:
                os.kill(pid, signal.SIGSTOP)
                await until(asyncio.Event(), self.source.uniform(1, 4))
                os.kill(pid, signal.SIGCONT)
                self.killed["stopped"] += 1

    def _kill_some(self) -> None:
        kind = self.source.choice(KINDS)
        there = self.computer.actors(kind)
        victims = there if self.source.random() < 0.2 else self.source.sample(there, min(1, len(there)))
        send_kill(victims)
        self.killed[kind] += len(victims)


@pytest.fixture
def hurt_computer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[LocalComputer]:
    """A computer with little room and two shards, whose traces stay if the test fails."""
    computer = LocalComputer(tmp_path / "data", environment=ENVIRONMENT)
    with capsys.disabled():
        print(f"\nchaos: {SECONDS} s, CHAOS_SEED={SEED}, data in {computer.data}, log {computer.log}")
    with computer:
        yield computer
        keep_logs(computer, "end")


def keep_logs(computer: LocalComputer, name: str) -> None:
    """What Ray has of its workers' words goes with the computer: keep it beside the data."""
    digest = hashlib.sha256(str(computer.data).encode()).hexdigest()
    logs = Path(tempfile.gettempdir()) / f"aoray-{digest[:12]}" / "ray" / "session_latest" / "logs"
    shutil.copytree(logs, computer.data.with_name(f"logs-{name}"), ignore_dangling_symlinks=True)


async def test_chaos_loses_and_doubles_nothing(
    hurt_computer: LocalComputer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    economy = await found(hurt_computer)
    over = asyncio.Event()
    wrecker = Wrecker(hurt_computer, random.Random(SEED), SECONDS)
    working = asyncio.create_task(economy.run(hurt_computer, SEED, over))
    try:
        await wrecker.run()
    finally:
        over.set()
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        await working
    assert not economy.faults
    assert wrecker.killed["everything"] == 2
    books = await Books.made(hurt_computer, economy)
    async with Client(hurt_computer.url, generate_ed25519()) as client:
        await check_supply(client, economy)
    books.check_messages(economy)
    assert books.others(economy) == 0
    books.check_results(hurt_computer)
    report = await verified(hurt_computer, economy.token, books.length[economy.token] - 1, tmp_path / "fresh")
    with capsys.disabled():
        print(f"chaos: killed {dict(wrecker.killed)}; {books.summary(economy)}")
        print(
            f"chaos: verified {report['messages']} messages of the token process from Arweave alone,"
            f" {report['messages_per_second']} a second"
        )


async def verified(computer: LocalComputer, process: str, nonce: int, fresh: Path) -> dict[str, Any]:
    """What `aoray verify` says, with nothing but an Arweave to ask and an empty directory."""
    variables = {"process": process, "nonce": str(nonce)}
    async with ArweaveClient(computer.unit(1)) as client, asyncio.timeout(SETTLE_SECONDS_MAX):
        while not (await client.graphql(QUERY, variables))["transactions"]["edges"]:
            await until(asyncio.Event(), 0.5)
    await asyncio.to_thread(fresh.mkdir)
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aoray", "verify", process, "--gateway", computer.unit(1), "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"AORAY_DATA": str(fresh)},
        cwd=fresh,
    )
    out, err = await running.communicate()
    assert running.returncode == 0, out.decode() + err.decode()
    report: dict[str, Any] = json.loads(out)
    assert report["ok"] and (report["nonce"], report["errors"]) == (nonce, 0)
    return report
